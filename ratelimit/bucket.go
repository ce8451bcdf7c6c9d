package ratelimit

import (
	"math"
	"math/bits"
	"time"
)

// Bucket describes a token bucket: Size tokens that flow in during each Refill,
// evenly, and at most Size that it holds. It starts full, and with Burst tokens
// more, which are spent first and never come back. A Size or a Refill of 0 means
// unlimited.
type Bucket struct {
	Size   uint64        // tokens
	Burst  uint64        `json:",omitempty"` // tokens
	Refill time.Duration // how long an empty bucket takes to be full
}

// Unlimited reports whether b lets everything through.
func (b Bucket) Unlimited() bool { return b.Size == 0 || b.Refill <= 0 }

// bucket is a Bucket in use. All of its state is the instant at which it is
// full if nothing more is taken: n tokens taken move that by n*Refill/Size, and
// time brings the rest by itself. docs/ratelimit.md derives the arithmetic.
type bucket struct {
	Bucket         // Burst is what is left of it
	full   instant // counted from the Limiter's start
}

// instant is a point in time, ns + frac/Size nanoseconds, with frac < Size. The
// fraction is what a token's price leaves over a whole nanosecond.
type instant struct {
	ns, frac uint64
}

// never is where arithmetic stops: 584 years.
const never = math.MaxUint64

// ceil is the first whole nanosecond that is not before t.
func (t instant) ceil() uint64 {
	if t.frac == 0 || t.ns == never {
		return t.ns
	}
	return t.ns + 1
}

// due is when n tokens can be had, which may be before now.
func (b *bucket) due(n, now uint64) uint64 {
	if b.Unlimited() || n <= b.Burst {
		return 0
	}
	if n -= b.Burst; n > b.Size {
		return b.full.ceil() // more than it ever holds: a full bucket, and debt
	}
	// They are there when what is missing to a full bucket afterwards is no more
	// than a bucket.
	full := b.after(n, now).ceil()
	return full - min(full, uint64(b.Refill))
}

// take takes n tokens that are due.
func (b *bucket) take(n, now uint64) {
	if b.Unlimited() {
		return
	}
	burst := min(n, b.Burst)
	b.Burst -= burst
	if n -= burst; n > 0 {
		b.full = b.after(n, now)
	}
}

// after is when the bucket is full again if n tokens are taken now: a full
// bucket has gained nothing since it was full, and each token takes Refill/Size.
//
// n and Size are any 64-bit numbers and Refill is under 2^63, so n*Refill needs
// 128 bits. Where the sum passes never it stays there.
func (b *bucket) after(n, now uint64) instant {
	from := b.full
	if from.ns < now {
		from = instant{ns: now}
	}
	hi, lo := bits.Mul64(n, uint64(b.Refill))
	if hi >= b.Size {
		return instant{ns: never} // the quotient has more than 64 bits
	}
	ns, frac := bits.Div64(hi, lo, b.Size)
	frac, carry := bits.Add64(from.frac, frac, 0)
	if carry == 1 || frac >= b.Size { // both were under Size: one whole at most
		frac, carry = frac-b.Size, 1
	}
	ns, over := bits.Add64(from.ns, ns, carry)
	if over == 1 {
		return instant{ns: never}
	}
	return instant{ns, frac}
}
