package main

import (
	"fmt"
	"io"
	"net"
	"os"

	"github.com/mvm-project/mvm/guestinit/proto"
)

// stream carries one of the container's streams to its end.
func (s *session) stream(c net.Conn, st proto.Stream) error {
	s.mu.Lock()
	_, twice := s.streams[st.Name]
	if !twice && st.Container == s.container.ID {
		s.streams[st.Name] = c
	}
	s.mu.Unlock()
	switch {
	case twice:
		return fmt.Errorf("the guest opened the stream %q twice", st.Name)
	case st.Container != s.container.ID:
		return fmt.Errorf("the guest opened a stream of container %q, which is not here", st.Container)
	}
	switch {
	case st.Name == proto.Stdout:
		s.output(os.Stdout, c)
	case st.Name == proto.Stderr:
		s.output(os.Stderr, c)
	case st.Name == proto.Stdin && s.container.Process.Stdin:
		input(c, os.Stdin)
	default:
		return fmt.Errorf("the guest opened a stream %q, which it was not asked for", st.Name)
	}
	return nil
}

// output copies a stream of the guest to f. When f's reader has gone, the
// guest's end is closed, which the process sees as a closed pipe.
func (s *session) output(f *os.File, c net.Conn) {
	_, _ = io.Copy(f, c)
	c.Close()
	s.outputs.Done()
}

// input copies f to a stream of the guest, and its end as a half-close. When
// the guest stops reading there is nobody to tell.
func input(c net.Conn, f *os.File) {
	_, _ = io.Copy(c, f)
	if u, ok := c.(*net.UnixConn); ok {
		_ = u.CloseWrite()
	}
}
