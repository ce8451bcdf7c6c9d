package virtio

import "io"

// Chain is one request of the driver: buffers the device reads, then buffers it
// writes. Next fills it; it is valid until it is pushed, and reusing one Chain
// for many requests allocates nothing. Its bytes are the guest's memory, which
// may change at any time.
type Chain struct {
	// Readable and Writable shrink as they are read and written.
	Readable, Writable Buffers

	head     uint16
	segments [][]byte // what Readable and Writable are cut from
}

// Buffers is guest memory in pieces, none of them empty: a stream whose front is
// read or written, and dropped.
type Buffers [][]byte

// Len is how many bytes there are.
func (b Buffers) Len() int {
	n := 0
	for _, s := range b {
		n += len(s)
	}
	return n
}

// Read copies from the front of b to p, and drops what it copied. At the end of
// b it returns io.EOF.
func (b *Buffers) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) && len(*b) > 0 {
		k := copy(p[n:], (*b)[0])
		b.Drop(k)
		n += k
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Write copies p to the front of b, and drops what it filled. If b is too small
// it fills all of it and returns io.ErrShortWrite.
func (b *Buffers) Write(p []byte) (int, error) {
	n := 0
	for n < len(p) && len(*b) > 0 {
		k := copy((*b)[0], p[n:])
		b.Drop(k)
		n += k
	}
	if n < len(p) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

// Drop removes the first n bytes, or all if there are fewer.
func (b *Buffers) Drop(n int) {
	for n > 0 && len(*b) > 0 {
		first := (*b)[0]
		if n < len(first) {
			(*b)[0] = first[n:]
			return
		}
		n -= len(first)
		*b = (*b)[1:]
	}
}

// Truncate removes all but the first n bytes.
func (b *Buffers) Truncate(n int) {
	for i, s := range *b {
		if n <= len(s) {
			(*b)[i] = s[:n]
			if n > 0 {
				i++
			}
			*b = (*b)[:i]
			return
		}
		n -= len(s)
	}
}
