package container

import (
	"errors"
	"os"

	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/internal/control"
)

// talk is a conversation with a mvm-vmm.
type talk struct {
	conn *control.Conn
	// messages are mvm-vmm's, closed when the connection ends.
	messages chan message
	quit     chan struct{} // closed when nobody takes messages any more
}

// message is one of mvm-vmm's, with the streams it brings.
type message struct {
	control.Message
	files []*os.File
}

// newTalk takes conn over, to the talk's close.
func newTalk(conn *control.Conn) *talk {
	t := &talk{conn: conn, messages: make(chan message), quit: make(chan struct{})}
	go t.receive() // ends with the connection or with quit: at the latest by close
	return t
}

// tell sends a message. A mvm-vmm that is gone is noticed by who takes messages:
// the error is for what cannot be sent.
func (t *talk) tell(m control.Message) error {
	err := t.conn.Send(m)
	if errors.Is(err, proto.ErrTooLong) {
		return err
	}
	return nil
}

func (t *talk) receive() {
	defer close(t.messages)
	for {
		m, files, err := t.conn.ReceiveFiles()
		if err != nil {
			return
		}
		select {
		case t.messages <- message{m, files}:
		case <-t.quit:
			closeFiles(files)
			return
		}
	}
}

func (t *talk) close() {
	close(t.quit)
	_ = t.conn.Close() // nothing is left to be said
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
