package virtio_test

import (
	"encoding/binary"
	"testing"

	"github.com/mvm-project/mvm/devices/virtio"
	"github.com/mvm-project/mvm/devices/virtio/virtiotest"
)

// FuzzQueue serves rings whose every byte is the driver's: the first 0x80 bytes
// of data are the descriptor table, the next 22 the available ring. Each chain
// is held against a second reading of the rules.
func FuzzQueue(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte, eventIdx bool) {
		c := config(t)
		broken := 0
		c.Fail = func(error) { broken++ }
		if eventIdx {
			c.Features = virtio.FeatureEventIdx
		}
		ram := put(t, c, data)
		q, err := virtio.NewQueue(c)
		if err != nil {
			t.Fatal(err)
		}
		var chain virtio.Chain
		taken := 0
		for q.Next(&chain) {
			head := binary.LittleEndian.Uint16(ram[0x1004+2*(taken%8):])
			readable, writable, ok := chainAt(ram, int(head))
			if !ok {
				t.Fatalf("Next took a bad chain at %d", head)
			}
			if r, w := chain.Readable.Len(), chain.Writable.Len(); r != readable || w != writable {
				t.Fatalf("chain at %d: %d bytes readable, %d writable; want %d, %d", head, r, w, readable, writable)
			}
			if taken++; taken > 8 {
				t.Fatal("Next gives more chains than there are descriptors")
			}
			q.Push(&chain, 0)
		}
		idx := binary.LittleEndian.Uint16(ram[0x1002:])
		if broken == 1 && idx <= 8 {
			head := binary.LittleEndian.Uint16(ram[0x1004+2*taken:])
			if _, _, ok := chainAt(ram, int(head)); ok {
				t.Fatalf("Next refuses the good chain at %d", head)
			}
		}
		if broken == 0 && taken != int(idx) || broken > 1 {
			t.Fatalf("%d chains taken of %d, failed %d times", taken, idx, broken)
		}
		if broken == 1 && q.Wait() {
			t.Fatal("a broken queue waits")
		}
		q.Flush()
		if got := binary.LittleEndian.Uint16(ram[0x2002:]); int(got) != taken {
			t.Fatalf("%d chains in the used ring, %d taken", got, taken)
		}
	})
}

// put writes the rings and returns all RAM.
func put(t *testing.T, c virtio.QueueConfig, data []byte) []byte {
	t.Helper()
	ram, err := c.Memory.Slice(virtiotest.Base, 1<<16)
	if err != nil {
		t.Fatal(err)
	}
	n := copy(ram[:0x80], data)
	copy(ram[0x1000:0x1000+22], data[n:])
	return ram
}

// chainAt says how many bytes the chain at a descriptor has, if it is a good one,
// in RAM of 64 KiB.
func chainAt(ram []byte, at int) (readable, writable int, ok bool) {
	writing := false
	for range 8 {
		if at >= 8 {
			return 0, 0, false
		}
		d := ram[16*at:]
		addr, size, flags := binary.LittleEndian.Uint64(d), int(binary.LittleEndian.Uint32(d[8:])), d[12]
		inside := addr >= virtiotest.Base && addr <= virtiotest.Base+1<<16 && size <= virtiotest.Base+1<<16-int(addr)
		if flags&4 != 0 || size > 0 && !inside {
			return 0, 0, false
		}
		switch {
		case flags&2 != 0:
			writing = true
			writable += size
		case writing:
			return 0, 0, false
		default:
			readable += size
		}
		if flags&1 == 0 {
			return readable, writable, true
		}
		at = int(binary.LittleEndian.Uint16(d[14:]))
	}
	return 0, 0, false
}
