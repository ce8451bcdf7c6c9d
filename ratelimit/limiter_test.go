package ratelimit

import (
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ops(size uint64, refill time.Duration) *Bucket { return &Bucket{Size: size, Refill: refill} }

// pass waits for a request of n bytes and returns how long that took.
func pass(t *testing.T, l *Limiter, n uint64) time.Duration {
	t.Helper()
	began := time.Now()
	if !l.Take(n) && !l.Wait(n, nil) {
		t.Fatal("Wait gave up without being told to")
	}
	return time.Since(began)
}

// TestWait has requests in a row with the time each must wait.
func TestWait(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct {
		name     string
		limits   Limits
		requests []uint64
		waits    []time.Duration
	}{
		{"nothing is limited", Limits{}, []uint64{1 << 40, 1 << 40}, []time.Duration{0, 0}},
		{"size 0", Limits{Ops: ops(0, ms), Bytes: ops(0, ms)}, []uint64{1, 1}, []time.Duration{0, 0}},
		{"refill 0", Limits{Ops: ops(1, 0), Bytes: ops(1, 0)}, []uint64{1, 1}, []time.Duration{0, 0}},
		{"ops", Limits{Ops: ops(2, 10*ms)}, []uint64{9, 9, 9, 9}, []time.Duration{0, 0, 5 * ms, 5 * ms}},
		{"bytes", Limits{Bytes: ops(100, 10*ms)}, []uint64{60, 40, 10, 0, 100}, []time.Duration{0, 0, ms, 0, 10 * ms}},
		{"the slower of both", Limits{Ops: ops(1, ms), Bytes: ops(10, 10*ms)}, []uint64{10, 0, 1, 5}, []time.Duration{0, ms, ms, 4 * ms}},
		{"a burst is first", Limits{Ops: &Bucket{Size: 1, Burst: 2, Refill: ms}}, []uint64{0, 0, 0, 0}, []time.Duration{0, 0, 0, ms}},
		{"a burst does not come back", Limits{Bytes: &Bucket{Size: 1, Burst: 5, Refill: ms}}, []uint64{6, 1, 1}, []time.Duration{0, ms, ms}},
		{"the rest of a burst", Limits{Bytes: &Bucket{Size: 10, Burst: 5, Refill: 10 * ms}}, []uint64{10, 8, 2}, []time.Duration{0, 3 * ms, 2 * ms}},
		{"debt is paid in time", Limits{Bytes: ops(10, 10*ms)}, []uint64{25, 1, 10}, []time.Duration{0, 16 * ms, 10 * ms}},
		{"more than the size wants a full bucket", Limits{Bytes: ops(10, 10*ms)}, []uint64{1, 11, 1}, []time.Duration{0, ms, 2 * ms}},
		{"debt under a millisecond", Limits{Bytes: ops(1000, ms)}, []uint64{1001, 1, 1}, []time.Duration{0, 2 * time.Microsecond, time.Microsecond}},
		{"what does not fit gives its op back", Limits{Ops: ops(2, time.Hour), Bytes: ops(10, ms)}, []uint64{10, 10}, []time.Duration{0, ms}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := New(test.limits)
				for i, n := range test.requests {
					if got := pass(t, l, n); got != test.waits[i] {
						t.Errorf("request %d of %d bytes waits %v, want %v", i, n, got, test.waits[i])
					}
				}
			})
		})
	}
}

// TestSteadyDemand has somebody always wait, and counts.
func TestSteadyDemand(t *testing.T) {
	for _, test := range []struct {
		name   string
		bucket Bucket
		during time.Duration
		want   float64
	}{
		{"1 op a minute", Bucket{Size: 1, Refill: time.Minute}, 500 * time.Minute, 500},
		{"10 ops in 10 ms", Bucket{Size: 10, Refill: 10 * time.Millisecond}, 10 * time.Second, 10_000},
		{"1,000 ops a second", Bucket{Size: 1000, Refill: time.Second}, 10 * time.Second, 10_000},
		{"1 op in 3 ns", Bucket{Size: 1, Refill: 3}, 100 * time.Microsecond, 33_333},
		{"10 M ops a second", Bucket{Size: 10_000_000, Refill: time.Second}, 10 * time.Millisecond, 100_000},
		{"10 M ops a second, one by one", Bucket{Size: 1, Refill: 100}, 10 * time.Millisecond, 100_000},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := New(Limits{Ops: &test.bucket})
				for l.Take(0) { // it begins empty
				}
				began, n := time.Now(), 0.0
				for ; time.Since(began) < test.during; n++ {
					pass(t, l, 0)
				}
				if n < 0.99*test.want || n > test.want+1 {
					t.Errorf("%v in %v, want %v", n, test.during, test.want)
				}
			})
		})
	}
}

// TestSteadyBytes is steady demand for any bucket whose rate is one of interest,
// and requests of any size, larger than the bucket too.
func TestSteadyBytes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		spec := Bucket{Size: rapid.Uint64Range(1, 1<<40).Draw(rt, "size")}
		// From one token a minute to ten million a second.
		fastest, slowest := max(spec.Size*100, 1000), spec.Size*60_000_000_000
		spec.Refill = time.Duration(rapid.Uint64Range(fastest, max(fastest, min(slowest, math.MaxInt64/1000))).Draw(rt, "refill"))
		b := bucket{Bucket: spec}
		b.take(spec.Size, 0)
		n := rapid.Uint64Range(1, 4*spec.Size).Draw(rt, "tokens")
		sum, now := 0.0, uint64(0)
		for range 100 {
			now = b.due(n, now)
			b.take(n, now)
			sum += float64(n)
		}
		over := sum - float64(max(n, spec.Size)-spec.Size) // the last one's debt is not yet paid
		if want := float64(now) / float64(spec.Refill) * float64(spec.Size); over < 0.99*want || over > 1.0001*want+1 {
			rt.Fatalf("%+v: %v tokens in %d ns, want %v", spec, over, now, want)
		}
	})
}

// TestStop has stop end every wait at once, and charge nothing.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Limits{Ops: ops(1, time.Hour)})
		pass(t, l, 0)
		stop := make(chan struct{})
		began := time.Now()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if l.Wait(0, stop) {
					t.Error("a request passes after stop")
				}
			})
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		close(stop)
		wg.Wait()
		if d := time.Since(began); d != time.Minute {
			t.Errorf("stopped after %v", d)
		}
		if got := pass(t, l, 0); got != 59*time.Minute {
			t.Errorf("the next request waits %v, want 59m", got)
		}
		if s, want := l.Stats(), (Stats{Ops: 2, Throttled: time.Hour}); s != want {
			t.Errorf("%+v, want %+v", s, want)
		}
	})
}

// TestUpdate changes the limits under a waiting request.
func TestUpdate(t *testing.T) {
	for _, test := range []struct {
		name   string
		update Limits
		want   time.Duration
	}{
		{"nothing", Limits{}, time.Hour},
		{"the other bucket", Limits{Bytes: ops(1000, time.Hour)}, time.Hour},
		{"off", Limits{Ops: ops(0, 0)}, time.Minute},
		{"a new bucket is full", Limits{Ops: ops(1, 24*time.Hour)}, time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := New(Limits{Ops: ops(1, time.Hour)})
				pass(t, l, 5)
				time.AfterFunc(time.Minute, func() { l.Update(test.update) })
				if got := pass(t, l, 5); got != test.want {
					t.Errorf("waits %v, want %v", got, test.want)
				}
			})
		})
	}
}

// TestOrder has requests pass in the order in which they came, and Take stand back.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Limits{Bytes: ops(10, 10*time.Second)})
		pass(t, l, 10)
		var mu sync.Mutex
		var order []uint64
		for _, n := range []uint64{10, 1, 5} {
			go func() {
				l.Wait(n, nil)
				mu.Lock()
				defer mu.Unlock()
				order = append(order, n)
			}()
			synctest.Wait()
		}
		time.Sleep(5 * time.Second)
		if l.Take(1) {
			t.Error("Take passes by a waiting request")
		}
		time.Sleep(12 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		if len(order) != 3 || order[0] != 10 || order[1] != 1 || order[2] != 5 {
			t.Errorf("order %v", order)
		}
	})
}

// TestStatsOfAWait looks while a request waits.
func TestStatsOfAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Limits{Bytes: ops(10, 10*time.Second)})
		pass(t, l, 10)
		go l.Wait(4, nil)
		time.Sleep(3 * time.Second)
		if s, want := l.Stats(), (Stats{Ops: 1, Bytes: 10, Throttled: 3 * time.Second}); s != want {
			t.Errorf("%+v, want %+v", s, want)
		}
		time.Sleep(time.Minute)
		if s, want := l.Stats(), (Stats{Ops: 2, Bytes: 14, Throttled: 4 * time.Second}); s != want {
			t.Errorf("%+v, want %+v", s, want)
		}
	})
}

func TestNilLimiter(t *testing.T) {
	var l *Limiter
	if !l.Take(1) || !l.Wait(1, nil) || l.Stats() != (Stats{}) {
		t.Error("a nil limiter limits")
	}
}

func TestAllocatesNothing(t *testing.T) {
	l := New(Limits{Ops: ops(1, 10*time.Microsecond), Bytes: ops(1<<20, time.Second)})
	stop := make(chan struct{})
	if n := testing.AllocsPerRun(1000, func() { l.Take(100) }); n != 0 {
		t.Errorf("Take: %v allocations", n)
	}
	if n := testing.AllocsPerRun(1000, func() { l.Wait(100, stop) }); n != 0 {
		t.Errorf("Wait: %v allocations", n)
	}
}

func BenchmarkTake(b *testing.B) {
	for name, l := range map[string]*Limiter{
		"unlimited": New(Limits{}),
		"limited":   New(Limits{Ops: ops(math.MaxUint64, time.Second), Bytes: ops(math.MaxUint64, time.Second)}),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				l.Take(4096)
			}
		})
	}
}
