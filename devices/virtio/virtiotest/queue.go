package virtiotest

import (
	"encoding/binary"
	"time"

	"github.com/mvm-project/mvm/devices/virtio/internal/guestmem"
)

// patience is how long a driver waits before it calls the device dead.
const patience = 30 * time.Second

// Bits of a descriptor's flags.
const (
	DescNext     = 1
	DescWrite    = 2
	DescIndirect = 4
)

// Queue is the driver's side of a split virtqueue. One goroutine at a time uses
// it.
type Queue struct {
	// DescAt, AvailAt and UsedAt are where the queue lies.
	DescAt, AvailAt, UsedAt uint64

	d        *Driver
	index    int
	size     uint16
	eventIdx bool

	desc, avail, used []byte
	next              []uint16 // the rest of each chain that is out, as the driver knows it
	length            []uint16 // by head: descriptors of the chain that is out, 0 if none is
	free              []uint16
	availIdx, kicked  uint16
	lastUsed          uint16
	timer             *time.Timer
}

func (q *Queue) lay(size uint16) {
	q.d.tb.Helper()
	n := int(size)
	q.size = size
	q.DescAt, q.desc = q.area(16*n, 16)
	q.AvailAt, q.avail = q.area(6+2*n, 4)
	q.UsedAt, q.used = q.area(6+8*n, 4)
	q.next = make([]uint16, n)
	q.length = make([]uint16, n)
	for i := n - 1; i >= 0; i-- {
		q.free = append(q.free, uint16(i))
	}
}

func (q *Queue) area(n, align int) (uint64, []byte) {
	q.d.tb.Helper()
	// Whole words, since the index at an area's end is used as part of one.
	at := q.d.Alloc(q.d.tb, (n+3)&^3, align)
	return at, q.d.Bytes(Buffer{Addr: at, Len: uint32(n)})
}

// Size is how many descriptors the queue has.
func (q *Queue) Size() int { return int(q.size) }

// Free is how many descriptors are free.
func (q *Queue) Free() int { return len(q.free) }

// Add offers a chain of one buffer or more and returns its head. It does not
// kick.
func (q *Queue) Add(buffers ...Buffer) uint16 {
	q.d.tb.Helper()
	if len(buffers) == 0 || len(buffers) > len(q.free) {
		q.d.tb.Fatalf("virtiotest: a chain of %d with %d descriptors free", len(buffers), len(q.free))
	}
	head := q.free[len(q.free)-1]
	for i, b := range buffers {
		at := q.free[len(q.free)-1]
		q.free = q.free[:len(q.free)-1]
		flags := uint16(0)
		if b.Writable {
			flags |= DescWrite
		}
		if i+1 < len(buffers) {
			flags |= DescNext
			q.next[at] = q.free[len(q.free)-1]
		}
		q.PutDesc(at, b.Addr, b.Len, flags, q.next[at])
	}
	q.length[head] = uint16(len(buffers))
	q.Offer(head)
	return head
}

// PutDesc writes a descriptor as it is told.
func (q *Queue) PutDesc(i uint16, addr uint64, length uint32, flags, next uint16) {
	d := q.desc[16*int(i):]
	binary.LittleEndian.PutUint64(d, addr)
	binary.LittleEndian.PutUint32(d[8:], length)
	binary.LittleEndian.PutUint16(d[12:], flags)
	binary.LittleEndian.PutUint16(d[14:], next)
}

// Offer puts head into the available ring, whatever it is.
func (q *Queue) Offer(head uint16) {
	binary.LittleEndian.PutUint16(q.avail[4+2*int(q.availIdx%q.size):], head)
	q.SetAvailIdx(q.availIdx + 1)
}

// SetAvailIdx sets the available ring's index, whatever it is.
func (q *Queue) SetAvailIdx(idx uint16) {
	q.availIdx = idx
	guestmem.Store16(q.avail, 2, idx)
}

// SetNoInterrupt sets or clears VIRTQ_AVAIL_F_NO_INTERRUPT.
func (q *Queue) SetNoInterrupt(v bool) {
	flags := uint16(0)
	if v {
		flags = 1
	}
	guestmem.Store16(q.avail, 0, flags)
}

// Kick notifies the device if it asked for that since the last Kick, and reports
// whether it did.
func (q *Queue) Kick() bool {
	old := q.kicked
	q.kicked = q.availIdx
	if q.eventIdx {
		event := guestmem.Load16(q.used, 4+8*int(q.size))
		if q.availIdx-event-1 >= q.availIdx-old {
			return false
		}
	} else if guestmem.Load16(q.used, 0)&1 != 0 {
		return false
	}
	q.ForceKick()
	return true
}

// ForceKick notifies the device as an ioeventfd does.
func (q *Queue) ForceKick() {
	if _, err := q.d.Transport.Kicks()[q.index].Write(q.d.one[:]); err != nil {
		q.d.tb.Errorf("virtiotest: kick: %v", err)
	}
}

// Used takes the next chain that the device has given back: its head and how many
// bytes the device says it wrote.
func (q *Queue) Used() (head uint16, written int, ok bool) {
	q.d.tb.Helper()
	if guestmem.Load16(q.used, 2) == q.lastUsed {
		return 0, 0, false
	}
	e := q.used[4+8*int(q.lastUsed%q.size):]
	id, n := binary.LittleEndian.Uint32(e), binary.LittleEndian.Uint32(e[4:])
	q.lastUsed++
	if id >= uint32(q.size) || q.length[id] == 0 {
		q.d.tb.Fatalf("virtiotest: the device gives back chain %d, which is not out", id)
	}
	for at, left := uint16(id), q.length[id]; left > 0; left-- {
		q.free = append(q.free, at)
		at = q.next[at]
	}
	q.length[id] = 0
	return uint16(id), int(n), true
}

// Wait is Used that asks for an interrupt and sleeps until there is a chain.
func (q *Queue) Wait() (head uint16, written int) {
	q.d.tb.Helper()
	for {
		if head, n, ok := q.Used(); ok {
			return head, n
		}
		guestmem.Store16(q.avail, 4+2*int(q.size), q.lastUsed) // used_event
		if guestmem.Load16(q.used, 2) != q.lastUsed {
			continue
		}
		q.timer.Reset(patience)
		q.d.wait(q.d.wake[q.index], q.timer, "a used buffer")
	}
}

// Do offers a chain, kicks, waits for it, and returns how many bytes the device
// says it wrote.
func (q *Queue) Do(buffers ...Buffer) int {
	q.d.tb.Helper()
	want := q.Add(buffers...)
	q.Kick()
	head, n := q.Wait()
	if head != want {
		q.d.tb.Fatalf("virtiotest: the device gives back chain %d instead of %d", head, want)
	}
	return n
}

// wait waits for the device, until timer fires: then the test fails.
func (d *Driver) wait(c chan struct{}, timer *time.Timer, what string) {
	d.tb.Helper()
	defer timer.Stop()
	select {
	case <-c:
	case <-timer.C:
		d.tb.Fatalf("virtiotest: no sign of %s in %v (device error: %v)", what, patience, d.Transport.Err())
	}
}
