package ratelimit

import (
	"math"
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// exact is a bucket in rational numbers: the tokens it holds, below zero in debt.
type exact struct {
	Bucket
	level *big.Rat
	at    uint64
}

func num(n uint64) *big.Rat { return new(big.Rat).SetInt(new(big.Int).SetUint64(n)) }

func newExact(b Bucket) *exact { return &exact{Bucket: b, level: num(b.Size)} }

// flow lets tokens flow in until now.
func (e *exact) flow(now uint64) {
	in := num(now - e.at)
	in.Mul(in, num(e.Size)).Quo(in, num(uint64(e.Refill)))
	e.at = now
	if e.level.Add(e.level, in).Cmp(num(e.Size)) > 0 {
		e.level.Set(num(e.Size))
	}
}

// wants is what n tokens ask of the level: all of a bucket at most.
func (e *exact) wants(n uint64) *big.Rat {
	if n <= e.Burst {
		return nil
	}
	return num(min(n-e.Burst, e.Size))
}

func (e *exact) take(n uint64) {
	burst := min(n, e.Burst)
	e.Burst -= burst
	e.level.Sub(e.level, num(n-burst))
}

// against holds a bucket against the exact one for one request of n after wait
// ns, taken when it is due.
func against(t interface{ Fatalf(string, ...any) }, b *bucket, e *exact, now, n uint64) uint64 {
	due := max(b.due(n, now), now)
	if due > math.MaxInt64 {
		return now // not to be had: the arithmetic has stopped at never
	}
	if want := e.wants(n); want != nil {
		if due > now { // not a nanosecond too late
			e.flow(due - 1)
			if e.level.Cmp(want) >= 0 {
				t.Fatalf("%+v: %d tokens are due at %d, but are there before: %v", b, n, due, e.level)
			}
		}
		e.flow(due) // and none too early
		if e.level.Cmp(want) < 0 {
			t.Fatalf("%+v: %d tokens are due at %d, but only %v are there", b, n, due, e.level)
		}
	}
	b.take(n, due)
	e.take(n)
	return due
}

// numbers draws all sizes of numbers alike, and the extremes.
func numbers(lowest, highest uint64) *rapid.Generator[uint64] {
	return rapid.Custom(func(t *rapid.T) uint64 {
		n := rapid.Uint64().Draw(t, "n") >> rapid.IntRange(0, 63).Draw(t, "shift")
		return min(max(n, lowest), highest)
	})
}

func buckets() *rapid.Generator[Bucket] {
	return rapid.Custom(func(t *rapid.T) Bucket {
		return Bucket{
			Size:   numbers(1, math.MaxUint64).Draw(t, "size"),
			Burst:  numbers(0, math.MaxUint64).Draw(t, "burst"),
			Refill: time.Duration(numbers(1, math.MaxInt64).Draw(t, "refill")),
		}
	})
}

// TestExact has each request be due at the very nanosecond at which rational
// arithmetic finds its tokens, for numbers of any size.
func TestExact(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		spec := buckets().Draw(rt, "bucket")
		b, e := &bucket{Bucket: spec}, newExact(spec)
		for now := uint64(0); now < math.MaxInt64/2 && rapid.Bool().Draw(rt, "one more"); {
			now += numbers(0, math.MaxInt64/4).Draw(rt, "pause")
			now = against(rt, b, e, now, numbers(0, math.MaxUint64).Draw(rt, "tokens"))
		}
	})
}

// FuzzBucket is TestExact for three requests.
func FuzzBucket(f *testing.F) {
	f.Add(uint64(10), uint64(0), uint64(10_000_000), uint64(0), uint64(10), uint64(0), uint64(1), uint64(3_000_000), uint64(5))
	f.Add(uint64(1), uint64(1), uint64(60_000_000_000), uint64(0), uint64(1), uint64(0), uint64(1), uint64(0), uint64(1))
	f.Add(uint64(10_000_000), uint64(7), uint64(1_000_000_000), uint64(5), uint64(8), uint64(1), uint64(3), uint64(1), uint64(2))
	f.Add(uint64(3), uint64(0), uint64(10), uint64(0), uint64(5), uint64(0), uint64(5), uint64(0), uint64(5))
	f.Add(uint64(math.MaxUint64), uint64(math.MaxUint64), uint64(math.MaxInt64), uint64(math.MaxInt64), uint64(math.MaxUint64), uint64(1), uint64(math.MaxUint64), uint64(0), uint64(1))
	f.Add(uint64(math.MaxUint64), uint64(0), uint64(1), uint64(0), uint64(math.MaxUint64), uint64(0), uint64(math.MaxUint64-1), uint64(0), uint64(math.MaxUint64))
	f.Add(uint64(1), uint64(0), uint64(math.MaxInt64), uint64(0), uint64(math.MaxUint64), uint64(0), uint64(1), uint64(0), uint64(0))
	f.Fuzz(func(t *testing.T, size, burst, refill, pause1, n1, pause2, n2, pause3, n3 uint64) {
		spec := Bucket{Size: max(size, 1), Burst: burst, Refill: time.Duration(max(refill>>1, 1))}
		b, e := &bucket{Bucket: spec}, newExact(spec)
		now := uint64(0)
		for _, r := range [][2]uint64{{pause1, n1}, {pause2, n2}, {pause3, n3}} {
			now = against(t, b, e, now+r[0]>>3, r[1])
		}
	})
}

func TestUnlimited(t *testing.T) {
	for _, spec := range []Bucket{{}, {Size: 1}, {Refill: 1}, {Size: 1, Refill: -1}} {
		b := bucket{Bucket: spec}
		for range 3 {
			if at := b.due(math.MaxUint64, 1); at > 1 {
				t.Errorf("%+v: due at %d", spec, at)
			}
			b.take(math.MaxUint64, 1)
		}
	}
}

// passed is what a bucket let through.
type passed struct{ at, n uint64 }

// TestNeverAbove looks at every window: at most size, burst and what flowed in, and
// the debt of a request larger than the bucket.
func TestNeverAbove(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		spec := buckets().Draw(rt, "bucket")
		b := bucket{Bucket: spec}
		var log []passed
		for now := uint64(0); now < math.MaxInt64/2 && rapid.Bool().Draw(rt, "one more"); {
			now += numbers(0, math.MaxInt64/4).Draw(rt, "pause")
			n := numbers(0, math.MaxUint64).Draw(rt, "tokens")
			if now = max(now, b.due(n, now)); now > math.MaxInt64 {
				break
			}
			b.take(n, now)
			log = append(log, passed{now, n})
		}
		for i := range log {
			neverAbove(rt, spec, log[i:])
		}
	})
}

// neverAbove holds each window that begins with log[0] against the bound. A
// request larger than the bucket may still be in debt at the window's end.
func neverAbove(rt *rapid.T, spec Bucket, log []passed) {
	sum, largest := new(big.Rat), uint64(0)
	for _, p := range log {
		bound := num(p.at - log[0].at)
		bound.Mul(bound, num(spec.Size)).Quo(bound, num(uint64(spec.Refill)))
		bound.Add(bound, num(spec.Size)).Add(bound, num(spec.Burst))
		largest = max(largest, p.n)
		bound.Add(bound, num(largest-min(largest, spec.Size)))
		if sum.Add(sum, num(p.n)).Cmp(bound) > 0 {
			rt.Fatalf("%+v: %v tokens in %d ns, bound %v", spec, sum, p.at-log[0].at, bound)
		}
	}
}
