// Package ratelimit bounds how many requests, and how many bytes, pass in a
// time: one token bucket for each, and a wait that ends exactly when both have
// what a request needs.
package ratelimit

import (
	"math"
	"sync"
	"time"
)

// Limits are the buckets of a limiter. To New a nil bucket is an unlimited one;
// to Update it is one to leave as it is.
type Limits struct {
	Bytes *Bucket `json:",omitempty"`
	Ops   *Bucket `json:",omitempty"`
}

// Stats is what has come through a limiter.
type Stats struct {
	Ops, Bytes uint64
	// Throttled is for how long requests have waited, in nanoseconds.
	Throttled time.Duration
}

// Limiter charges each request one op and its bytes, both or neither. Any number
// of goroutines may use it. The nil Limiter is unlimited.
type Limiter struct {
	start   time.Time
	turn    chan struct{} // full while a request waits at the head of all that wait
	changed chan struct{} // holds a value after an Update
	timer   *time.Timer   // of the request that has the turn

	mu         sync.Mutex
	bytes, ops bucket
	stats      Stats
	waiting    bool   // a request waits
	since      uint64 // from when
}

// New returns a limiter of full buckets.
func New(limits Limits) *Limiter {
	l := &Limiter{
		start:   time.Now(),
		turn:    make(chan struct{}, 1),
		changed: make(chan struct{}, 1),
		timer:   time.NewTimer(math.MaxInt64),
	}
	l.timer.Stop()
	l.Update(limits)
	return l
}

// Update replaces the buckets that limits has by new, full ones. What waits is
// looked at again at once.
func (l *Limiter) Update(limits Limits) {
	l.mu.Lock()
	if limits.Bytes != nil {
		l.bytes = bucket{Bucket: *limits.Bytes}
	}
	if limits.Ops != nil {
		l.ops = bucket{Bucket: *limits.Ops}
	}
	l.mu.Unlock()
	select {
	case l.changed <- struct{}{}:
	default: // one is enough
	}
}

// Stats is what has come through so far, with the wait that is under way.
func (l *Limiter) Stats() Stats {
	if l == nil {
		return Stats{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	if l.waiting {
		s.Throttled += time.Duration(l.now() - l.since)
	}
	return s
}

// Take charges a request of n bytes if it can pass now, and reports whether it
// did. It never waits, and never passes by one that does.
func (l *Limiter) Take(n uint64) bool {
	if l == nil {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.waiting && l.take(n) == 0
}

// Wait charges a request of n bytes as soon as it can pass, in the order of
// calls, and reports whether it did: it gives up when stop is closed.
func (l *Limiter) Wait(n uint64, stop <-chan struct{}) bool {
	if l == nil {
		return true
	}
	select {
	case l.turn <- struct{}{}:
	case <-stop:
		return false
	}
	defer func() { <-l.turn }()
	for {
		wait := l.try(n)
		if wait == 0 {
			return true
		}
		l.timer.Reset(wait)
		select {
		case <-l.timer.C:
		case <-l.changed:
		case <-stop:
			l.timer.Stop()
			l.giveUp()
			return false
		}
	}
}

// try is take for the request that has the turn.
func (l *Limiter) try(n uint64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	wait := l.take(n)
	switch {
	case wait == 0:
		l.endWait()
	case !l.waiting:
		l.waiting, l.since = true, l.now()
	}
	return wait
}

func (l *Limiter) giveUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endWait()
}

// endWait counts the wait that is under way, if one is. It needs mu.
func (l *Limiter) endWait() {
	if l.waiting {
		l.waiting = false
		l.stats.Throttled += time.Duration(l.now() - l.since)
	}
}

// take charges one op and n bytes and returns 0, or returns how long it is until
// that can be done and charges nothing. It needs mu.
func (l *Limiter) take(n uint64) time.Duration {
	if !l.bytes.Unlimited() || !l.ops.Unlimited() {
		now := l.now()
		if due := max(l.ops.due(1, now), l.bytes.due(n, now)); due > now {
			return time.Duration(min(due-now, math.MaxInt64))
		}
		l.ops.take(1, now)
		l.bytes.take(n, now)
	}
	l.stats.Ops++
	l.stats.Bytes += n
	return 0
}

// now is the time since start, in nanoseconds of the monotonic clock.
func (l *Limiter) now() uint64 { return uint64(time.Since(l.start)) }
