package legacy

import (
	"strings"
	"sync"
	"unicode"
)

// Tail keeps the end of what is written to it.
type Tail struct {
	mu  sync.Mutex
	max int
	buf []byte // up to twice max, so that most writes only append
	cut bool   // something came before buf
}

// NewTail returns a Tail of at most n bytes.
func NewTail(n int) *Tail { return &Tail{max: n} }

// Write never fails.
func (t *Tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(p)
	p = p[max(0, n-t.max):]
	t.cut = t.cut || len(p) < n
	if len(t.buf)+len(p) > 2*t.max {
		t.buf, t.cut = t.buf[:copy(t.buf, t.buf[len(t.buf)-t.max:])], true
	}
	t.buf = append(t.buf, p...)
	return n, nil
}

// String is the text, from the start of a line where there is one. What a
// terminal might obey is left out: the writer is the guest.
func (t *Tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.buf
	if cut := len(b) - t.max; cut > 0 {
		b = b[cut:]
	}
	text := strings.ToValidUTF8(string(b), "\uFFFD")
	if t.cut || len(t.buf) > len(b) {
		if _, rest, ok := strings.Cut(text, "\n"); ok {
			text = rest
		}
	}
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text)
}
