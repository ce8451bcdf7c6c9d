package blk_test

import (
	"bytes"
	"testing"

	"github.com/mvm-project/mvm/devices/blk"
	"github.com/mvm-project/mvm/devices/virtio/virtiotest"
)

// FuzzRequest does one request whose readable bytes are readable, in pieces of
// cut bytes, with room for writable bytes. Whatever it says, the disk is only
// changed by a write that reports success, and the next request works.
func FuzzRequest(f *testing.F) {
	f.Fuzz(func(t *testing.T, readable []byte, writable uint16, cut uint8, readOnly bool) {
		b := &disk{bytes: pattern(8 * 512)}
		d := virtiotest.New(t, blk.New(b, blk.Config{ReadOnly: readOnly, ID: "fuzz"}))
		d.Start(featureFlush)
		readable = readable[:min(len(readable), 1<<16)]
		chain, room := pieces(d, readable, int(writable), int(cut)+1)
		if len(chain) == 0 {
			return
		}
		n := d.Queue(0).Do(chain...)
		if n > int(writable) {
			t.Fatalf("%d bytes reported of %d", n, writable)
		}
		if writable > 0 {
			check(t, b, readable, readOnly, d.Bytes(room[len(room)-1])[room[len(room)-1].Len-1])
		}
		if status, _ := request(d, in, 0, d.Room(512)); status != ok {
			t.Fatalf("the next request: status %d", status)
		}
		d.Close()
	})
}

// check holds the disk and the status against the header.
func check(t *testing.T, b *disk, readable []byte, readOnly bool, status byte) {
	t.Helper()
	if status > unsupp {
		t.Fatalf("status %d", status)
	}
	wrote := b.written.Load() > 0
	// Ranges before a bad one are done.
	if b.cleared.Load() > 0 {
		if readOnly || len(readable) < 32 || readable[0] != discard && readable[0] != zeroes || wrote {
			t.Fatalf("%d bytes cleared by header %x", b.cleared.Load(), readable[:min(16, len(readable))])
		}
		return
	}
	if wrote && (readOnly || status != ok || len(readable) < 16 || readable[0] != out) {
		t.Fatalf("%d bytes written by a request of status %d, header %x", b.written.Load(), status, readable[:min(16, len(readable))])
	}
	if !wrote && !bytes.Equal(b.bytes, pattern(8*512)) {
		t.Fatal("the disk differs")
	}
	if len(readable) < 16 && status != ioErr {
		t.Fatalf("status %d for a header of %d bytes", status, len(readable))
	}
}

// pieces makes a chain of at most 120 buffers, and says which are writable.
func pieces(d *virtiotest.Driver, readable []byte, writable, cut int) (chain, room []virtiotest.Buffer) {
	cut = max(cut, len(readable)/60+1, writable/60+1)
	for at := 0; at < len(readable); at += cut {
		chain = append(chain, d.Put(readable[at:min(at+cut, len(readable))]))
	}
	for at := 0; at < writable; at += cut {
		room = append(room, d.Room(min(cut, writable-at)))
	}
	return append(chain, room...), room
}
