// Package virtiotest is the other end of a virtio device, for tests: guest RAM
// and a driver that finds the device through its registers, lays queues in the
// RAM, offers chains and waits for their return. It keeps to the specification
// as Linux does, or, through the raw writes, breaks any of its rules.
//
// A driver's loop in a test:
//
//	d := virtiotest.New(t, device)
//	d.Start(virtio.FeatureEventIdx)
//	q := d.Queue(0)
//	room := d.Room(64)
//	q.Add(room)
//	q.Kick()
//	_, n := q.Wait()
//	got := d.Bytes(room)[:n]
//
// RAM is Go memory and the rings are used by atomic operations only, so the race
// detector proves the order in which device and driver hand buffers over.
package virtiotest

import (
	"fmt"
	"testing"
)

// Base is the guest-physical address where RAM begins. It is not 0, so that a
// forgotten address shows.
const Base = 0x100000

// RAM is a guest's memory: size bytes from Base.
type RAM struct {
	bytes []byte
	used  int
}

// NewRAM returns zeroed RAM of size bytes.
func NewRAM(size int) *RAM {
	return &RAM{bytes: make([]byte, size)}
}

// Slice implements virtio.Memory.
func (r *RAM) Slice(gpa uint64, n int) ([]byte, error) {
	size := uint64(len(r.bytes))
	if n < 0 || gpa < Base || gpa-Base > size || uint64(n) > size-(gpa-Base) {
		return nil, fmt.Errorf("%d bytes at %#x are not RAM", n, gpa)
	}
	return r.bytes[gpa-Base:][:n:n], nil
}

// Alloc returns the address of n bytes not handed out before, aligned to align,
// a power of two. They are never given back.
func (r *RAM) Alloc(tb testing.TB, n, align int) uint64 {
	tb.Helper()
	at := (r.used + align - 1) &^ (align - 1)
	if n < 0 || at+n > len(r.bytes) {
		tb.Fatalf("virtiotest: %d bytes of RAM are used up", len(r.bytes))
	}
	r.used = at + n
	return Base + uint64(at)
}
