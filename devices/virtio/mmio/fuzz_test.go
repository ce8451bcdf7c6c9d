package mmio_test

import (
	"testing"

	"github.com/mvm-project/mvm/devices/virtio/virtiotest"
)

// FuzzRegisters is a driver that does as data says: 8 bytes an access, which are
// the register, the width and direction, and the value. Whatever it does, the
// device is started and stopped in turn, and works after a reset.
func FuzzRegisters(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		p := &probe{tb: t}
		d := virtiotest.New(t, p)
		for len(data) >= 8 {
			access(d, data[:8])
			data = data[8:]
			status := d.Get(virtiotest.RegStatus)
			if p.running && status&virtiotest.DriverOK == 0 {
				t.Fatalf("the device runs in status %#x", status)
			}
		}
		d.Start(0)
		d.Queue(0).Do(d.Put([]byte("x")))
		d.Close()
		if p.running || p.starts != p.stops {
			t.Fatalf("%d starts, %d stops", p.starts, p.stops)
		}
	})
}

func access(d *virtiotest.Driver, p []byte) {
	off := uint64(p[0]) | uint64(p[1]&0x1f)<<8
	width, write := int(p[2]&15), p[3]&1 != 0
	buf := make([]byte, max(width, 4))
	copy(buf, p[4:8])
	if write {
		d.Transport.Write(off, buf[:width])
	} else {
		d.Transport.Read(off, buf[:width])
	}
}
