package proto

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// headerSize is the length before each frame's JSON.
const headerSize = 4

// WriteFrame writes v as one frame, in a single Write.
func WriteFrame(w io.Writer, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("frame: %w", err)
	}
	if len(body) > MaxFrame {
		return fmt.Errorf("frame of %d bytes: at most %d fit", len(body), MaxFrame)
	}
	frame := binary.LittleEndian.AppendUint32(make([]byte, 0, headerSize+len(body)), uint32(len(body)))
	_, err = w.Write(append(frame, body...))
	return err
}

// ReadFrame reads one frame into v, and not a byte more. The error is io.EOF if
// the stream ended before the frame began. Memory grows with the bytes that
// arrive, not with the length the sender claims.
func ReadFrame(r io.Reader, v any) error {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return err
	}
	n := binary.LittleEndian.Uint32(header[:])
	if n > MaxFrame {
		return fmt.Errorf("frame of %d bytes: at most %d are allowed", n, MaxFrame)
	}
	body, err := io.ReadAll(io.LimitReader(r, int64(n)))
	if err != nil {
		return err
	}
	if len(body) < int(n) {
		return fmt.Errorf("frame of %d bytes ends after %d: %w", n, len(body), io.ErrUnexpectedEOF)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("frame: %w", err)
	}
	return nil
}

// ReadMessage reads one frame and checks that exactly one field of it is set.
func ReadMessage(r io.Reader) (Message, error) {
	var m Message
	if err := ReadFrame(r, &m); err != nil {
		return Message{}, err
	}
	n := 0
	for _, set := range []bool{
		m.Hello != nil, m.Stream != nil, m.Start != nil,
		m.Started != nil, m.Signal != nil, m.Exit != nil,
	} {
		if set {
			n++
		}
	}
	if n != 1 {
		return Message{}, errors.New("a message has to have exactly one field")
	}
	return m, nil
}
