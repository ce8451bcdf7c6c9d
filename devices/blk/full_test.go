package blk

import (
	"encoding/binary"
	"os"
	"testing"

	"github.com/mvm-project/mvm/devices/virtio/virtiotest"
)

// TestHostDiskFull writes where the host's kernel says ENOSPC.
func TestHostDiskFull(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	d := virtiotest.New(t, New(&File{file: full, size: 4096}, Config{}))
	defer d.Close()
	d.Start(0)
	for _, test := range []struct {
		kind uint32
		data virtiotest.Buffer
		want byte
	}{
		{typeOut, d.Put(make([]byte, 512)), statusIOErr},
		{typeIn, d.Room(512), statusOK},
	} {
		var h [headerSize]byte
		binary.LittleEndian.PutUint32(h[:], test.kind)
		room := d.Room(1)
		d.Queue(0).Do(d.Put(h[:]), test.data, room)
		if got := d.Bytes(room)[0]; got != test.want {
			t.Errorf("type %d: status %d, want %d", test.kind, got, test.want)
		}
	}
}
