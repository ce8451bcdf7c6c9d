package proto

import (
	"bytes"
	"encoding/json"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzMessage is a hostile guest: no bytes make the host's reader panic, read
// past a frame, or take a message that it would not write itself.
func FuzzMessage(f *testing.F) {
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		m, err := ReadMessage(r)
		if err != nil {
			return
		}
		again(t, m, in, r.Len(), MaxMessage, ReadMessage)
	})
}

// FuzzRequest is the same for the guest's reader.
func FuzzRequest(f *testing.F) {
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		q, err := ReadRequest(r)
		if err != nil {
			return
		}
		again(t, q, in, r.Len(), MaxRequest, ReadRequest)
	})
}

// again checks that a value that was read took its frame and no more, and that
// it is read the same when it is written.
func again[T any](t *testing.T, v T, in []byte, left, max int, read func(io.Reader) (T, error)) {
	t.Helper()
	if n := headerSize + int(uint32(in[0])|uint32(in[1])<<8|uint32(in[2])<<16|uint32(in[3])<<24); len(in)-left != n {
		t.Fatalf("a frame of %d bytes took %d", n, len(in)-left)
	}
	frame, err := AppendFrame(nil, v, max)
	if err != nil {
		return // escapes may make it longer than it came
	}
	got, err := read(bytes.NewReader(frame))
	if err != nil {
		t.Fatal(err)
	}
	a, errA := json.Marshal(v)
	b, errB := json.Marshal(got)
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		t.Fatalf("%v %v\n%s", errA, errB, cmp.Diff(string(a), string(b)))
	}
}
