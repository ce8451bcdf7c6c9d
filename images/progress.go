package images

import (
	"io"
	"sync"
)

// Phase is a step on a layer's way into the store.
type Phase string

// The phases of a layer, in their order.
const (
	Download Phase = "download" // copied into the store, from a registry or a file
	Unpack   Phase = "unpack"   // merged into the root disk
)

// Event reports progress on one layer. Current counts the bytes of the layer as
// it is stored, of Total; the phase is over when they are equal. Events of
// different layers mix, but never run at the same time.
type Event struct {
	Layer          string // "sha256:HEX"
	Phase          Phase
	Current, Total int64
}

// reporter sends events one at a time; a nil func drops them.
type reporter struct {
	mu   sync.Mutex
	send func(Event)
}

func (r *reporter) event(e Event) {
	if r.send == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.send(e)
}

// eventGrain is how many bytes pass between two events.
const eventGrain = 256 << 10

// meter counts what is read through it and reports the count.
type meter struct {
	r      io.Reader
	report *reporter
	event  Event
	last   int64
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.event.Current += int64(n)
	if m.event.Current-m.last >= eventGrain && m.event.Current < m.event.Total {
		m.last = m.event.Current
		m.report.event(m.event)
	}
	return n, err
}
