package guestmem_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"

	"github.com/mvm-project/mvm/devices/virtio/internal/guestmem"
)

// TestLikeBytes holds each access against plain bytes, at either half of a word
// and at the ends of memory.
func TestLikeBytes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := make([]byte, 16)
		copy(b, rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(rt, "b"))
		want := bytes.Clone(b)
		off := rapid.IntRange(0, 7).Draw(rt, "half") * 2
		v, w := rapid.Uint16().Draw(rt, "v"), rapid.Uint16().Draw(rt, "w")

		if got := guestmem.Load16(b, off); got != binary.LittleEndian.Uint16(want[off:]) {
			rt.Fatalf("Load16 at %d of %x is %#x", off, b, got)
		}
		guestmem.Store16(b, off, v)
		binary.LittleEndian.PutUint16(want[off:], v)
		off &^= 3
		if rapid.Bool().Draw(rt, "both") {
			guestmem.Store16x2(b, off, v, w)
			binary.LittleEndian.PutUint16(want[off:], v)
			binary.LittleEndian.PutUint16(want[off+2:], w)
		}
		if !bytes.Equal(b, want) {
			rt.Fatalf("memory is %x, want %x", b, want)
		}
	})
}
