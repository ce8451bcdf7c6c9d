package main

import (
	"io"
	"os"

	"github.com/mvm-project/mvm/guestinit/proto"
)

// streamBuffer is how much is moved at once, in bytes: what a pipe holds.
const streamBuffer = 64 << 10

// connect opens a connection to the host for each stream of container id and
// moves bytes until the streams end. stdin is nil if the host has none to send.
func (s *session) connect(p *process, id string, stdin, stdout, stderr *os.File) error {
	for _, out := range []struct {
		name string
		file *os.File
	}{{proto.Stdout, stdout}, {proto.Stderr, stderr}} {
		c, err := s.open(id, out.name)
		if err != nil {
			return err
		}
		p.streams.Add(1)
		go func() { // ends when every process has closed the pipe, or the host the stream
			defer p.streams.Done()
			output(c, out.file)
		}()
	}
	if stdin == nil {
		return nil
	}
	c, err := s.open(id, proto.Stdin)
	if err != nil {
		return err
	}
	go input(stdin, c) // ends with the host's half-close, the pipe's reader, or the machine
	return nil
}

func (s *session) open(id, name string) (conn, error) {
	return s.dial(proto.Message{Stream: &proto.Stream{Container: id, Name: name}})
}

// output moves what the container writes to the host. When the host's reader is
// gone, closing the pipe tells the process.
func output(to conn, from *os.File) {
	move(to, from)
	from.Close()
	to.Close()
}

// input moves what the host sends to the container. When the process does not
// read any more, the host is told.
func input(to *os.File, from conn) {
	move(to, from)
	to.Close()
	from.Close()
}

// move copies without what io.Copy would try first: neither end has a shortcut.
func move(to io.Writer, from io.Reader) {
	buf := make([]byte, streamBuffer)
	_, _ = io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, buf)
}
