package proto

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// headerSize is the length before each frame's JSON.
const headerSize = 4

// ErrTooLong is in the error of a frame that is longer than is allowed.
var ErrTooLong = errors.New("too long: Linux takes 2 MiB of arguments and environment")

// AppendFrame appends v as one frame to b; it fits in max bytes of JSON.
func AppendFrame(b []byte, v any, max int) ([]byte, error) {
	start := len(b)
	buf := bytes.NewBuffer(append(b, make([]byte, headerSize)...))
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false) // six bytes for one, and this is no HTML
	if err := enc.Encode(v); err != nil {
		return b, fmt.Errorf("frame: %w", err)
	}
	frame := buf.Bytes()
	n := len(frame) - start - headerSize
	if n > max {
		return b, fmt.Errorf("a frame of %d bytes is %w", n, ErrTooLong)
	}
	binary.LittleEndian.PutUint32(frame[start:], uint32(n))
	return frame, nil
}

// WriteFrame writes v as one frame, in a single Write.
func WriteFrame(w io.Writer, v any, max int) error {
	frame, err := AppendFrame(nil, v, max)
	if err != nil {
		return err
	}
	_, err = w.Write(frame)
	return err
}

// ReadFrame reads one frame of at most max bytes into v, and not a byte more.
// The error is io.EOF if the stream ended before the frame began. Memory grows
// with the bytes that arrive, not with the length the sender claims.
func ReadFrame(r io.Reader, v any, max int) error {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return err
	}
	n := binary.LittleEndian.Uint32(header[:])
	if int64(n) > int64(max) {
		return fmt.Errorf("frame of %d bytes: at most %d are allowed", n, max)
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

// ReadMessage reads a frame of the guest's.
func ReadMessage(r io.Reader) (Message, error) {
	var m Message
	if err := ReadFrame(r, &m, MaxMessage); err != nil {
		return Message{}, err
	}
	if count(m.Hello != nil, m.Stream != nil, m.Reply != nil, m.Exited != nil, m.OOM != nil) != 1 {
		return Message{}, errors.New("a message has to have exactly one field")
	}
	if r := m.Reply; r != nil && count(r.Error != nil, r.Spawned != nil, r.Processes != nil, r.Usage != nil) > 1 {
		return Message{}, errors.New("a reply has to have at most one result")
	}
	return m, nil
}

// WriteMessage writes a frame of the guest's.
func WriteMessage(w io.Writer, m Message) error { return WriteFrame(w, m, MaxMessage) }

// ReadRequest reads a frame of the host's.
func ReadRequest(r io.Reader) (Request, error) {
	var q Request
	if err := ReadFrame(r, &q, MaxRequest); err != nil {
		return Request{}, err
	}
	if count(q.Setup != nil, q.Create != nil, q.Spawn != nil, q.Signal != nil, q.Resize != nil, q.Freeze != nil,
		q.List != nil, q.Stats != nil, q.Update != nil, q.Delete != nil) != 1 {
		return Request{}, errors.New("a request has to have a number and exactly one other field")
	}
	return q, nil
}

// WriteRequests writes frames of the host's, in a single Write.
func WriteRequests(w io.Writer, requests ...Request) error {
	var frames []byte
	for _, q := range requests {
		var err error
		if frames, err = AppendFrame(frames, q, MaxRequest); err != nil {
			return err
		}
	}
	_, err := w.Write(frames)
	return err
}

func count(set ...bool) int {
	n := 0
	for _, s := range set {
		if s {
			n++
		}
	}
	return n
}
