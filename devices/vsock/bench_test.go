package vsock

import (
	"io"
	"testing"
)

// BenchmarkGuestToHost sends packets of Linux's largest size, several at a kick,
// to a reader on the host.
func BenchmarkGuestToHost(b *testing.B) {
	s, c := pair(b)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, maxData))
	}()
	p := make([]byte, maxData)
	b.SetBytes(maxData)
	for b.Loop() {
		s.write(p)
	}
	s.send(s.shutdownPacket(shutBoth), nil)
	<-done
}

// BenchmarkHostToGuest fills the guest's buffers of 4 KiB from a writer on the
// host.
func BenchmarkHostToGuest(b *testing.B) {
	s, c := pair(b)
	done := make(chan struct{})
	go func() {
		defer close(done)
		p := make([]byte, maxData)
		for {
			if _, err := c.Write(p); err != nil {
				return
			}
		}
	}()
	const each = 1 << 20
	b.SetBytes(each)
	for b.Loop() {
		s.read(each)
	}
	_ = c.Close()
	<-done
}
