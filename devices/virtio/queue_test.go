package virtio_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mvm-project/mvm/devices/virtio"
	"github.com/mvm-project/mvm/devices/virtio/virtiotest"
	"github.com/mvm-project/mvm/ratelimit"
)

// TestChainsComeBackWhole offers batches of chains, cut into pieces at random, and
// looks at each byte that comes back.
func TestChainsComeBackWhole(t *testing.T) {
	both(t, func(t *testing.T, features uint64) {
		rapid.Check(t, func(rt *rapid.T) {
			d := virtiotest.New(t, new(echo))
			defer d.Close()
			d.Start(features)
			q := d.Queue(0)
			for range rapid.IntRange(1, 8).Draw(rt, "batches") {
				wants := offer(rt, d, q)
				q.Kick()
				for range wants {
					head, n := q.Wait()
					w := wants[head]
					got := join(d, w.room)
					if want := w.data[:min(len(w.data), len(got))]; n != len(want) || !bytes.Equal(got[:n], want) {
						rt.Fatalf("chain %d: %d bytes %x, want %x", head, n, got, want)
					}
				}
			}
			if q.Free() != q.Size() {
				rt.Fatalf("%d descriptors free at the end", q.Free())
			}
		})
	})
}

// want is what a chain carries, and where the answer goes.
type want struct {
	data []byte
	room []virtiotest.Buffer
}

// offer offers some chains, by head.
func offer(rt *rapid.T, d *virtiotest.Driver, q *virtiotest.Queue) map[uint16]want {
	wants := map[uint16]want{}
	for q.Free() >= 4 && rapid.Bool().Draw(rt, "one more") || len(wants) == 0 {
		w := want{data: rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(rt, "data")}
		cut := rapid.IntRange(0, len(w.data)).Draw(rt, "cut") // either part may be empty
		chain := []virtiotest.Buffer{d.Put(w.data[:cut]), d.Put(w.data[cut:])}
		for range rapid.IntRange(0, 2).Draw(rt, "rooms") {
			w.room = append(w.room, d.Room(rapid.IntRange(0, 30).Draw(rt, "room")))
		}
		wants[q.Add(append(chain, w.room...)...)] = w
	}
	return wants
}

func join(d *virtiotest.Driver, buffers []virtiotest.Buffer) []byte {
	var p []byte
	for _, b := range buffers {
		p = append(p, d.Bytes(b)...)
	}
	return p
}

// TestBadRing breaks each rule of the ring. The device says that it needs a reset, its
// other queue goes on, and after the reset all is well.
func TestBadRing(t *testing.T) {
	const ram = virtiotest.Base
	for _, test := range []struct {
		name, want string
		ruin       func(q *virtiotest.Queue)
	}{
		{"head outside", "descriptor 16 of a queue of 16", func(q *virtiotest.Queue) { q.Offer(16) }},
		{"head far outside", "descriptor 65535", func(q *virtiotest.Queue) { q.Offer(65535) }},
		{"next outside", "descriptor 16 of a queue of 16", func(q *virtiotest.Queue) {
			q.PutDesc(0, ram, 8, virtiotest.DescNext, 16)
			q.Offer(0)
		}},
		{"loop of one", "loop", func(q *virtiotest.Queue) {
			q.PutDesc(3, ram, 8, virtiotest.DescNext, 3)
			q.Offer(3)
		}},
		{"loop of all", "loop", func(q *virtiotest.Queue) {
			for i := range uint16(16) {
				q.PutDesc(i, ram, 0, virtiotest.DescNext, (i+1)%16)
			}
			q.Offer(5)
		}},
		{"indirect", "indirect", func(q *virtiotest.Queue) {
			q.PutDesc(0, ram, 64, virtiotest.DescIndirect, 0)
			q.Offer(0)
		}},
		{"readable after writable", "readable after writable", func(q *virtiotest.Queue) {
			q.PutDesc(0, ram, 8, virtiotest.DescWrite|virtiotest.DescNext, 1)
			q.PutDesc(1, ram, 8, 0, 0)
			q.Offer(0)
		}},
		{"not RAM", "descriptor 0: 8 bytes at 0x10 are not RAM", func(q *virtiotest.Queue) {
			q.PutDesc(0, 0x10, 8, 0, 0)
			q.Offer(0)
		}},
		{"over the end of RAM", "not RAM", func(q *virtiotest.Queue) {
			q.PutDesc(0, ram, 1<<30, 0, 0)
			q.Offer(0)
		}},
		{"at the end of addresses", "not RAM", func(q *virtiotest.Queue) {
			q.PutDesc(0, 1<<64-4, 8, 0, 0)
			q.Offer(0)
		}},
		{"4 GiB", "4 GiB", func(q *virtiotest.Queue) {
			q.PutDesc(0, ram, 1, virtiotest.DescNext, 1)
			q.PutDesc(1, ram, 1<<32-1, 0, 0)
			q.Offer(0)
		}},
		{"more chains than descriptors", "17 chains", func(q *virtiotest.Queue) { q.SetAvailIdx(17) }},
		{"index goes back", "65535 chains", func(q *virtiotest.Queue) { q.SetAvailIdx(65535) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			both(t, func(t *testing.T, features uint64) {
				d := virtiotest.New(t, new(echo))
				d.Start(features)
				test.ruin(d.Queue(0))
				d.Queue(0).ForceKick()
				if err := d.WaitReset(); err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "queue 0: ") {
					t.Errorf("the transport says %v, want queue 0: ... %q", err, test.want)
				}
				echoes(t, d, 1)
				d.Start(features)
				if err := d.Transport.Err(); err != nil {
					t.Errorf("after the reset the transport says %v", err)
				}
				echoes(t, d, 0)
			})
		})
	}
}

func echoes(t *testing.T, d *virtiotest.Driver, queue int) {
	t.Helper()
	room := d.Room(3)
	if n := d.Queue(queue).Do(d.Put([]byte("abc")), room); n != 3 || string(d.Bytes(room)) != "abc" {
		t.Errorf("queue %d gives back %d bytes, %q", queue, n, d.Bytes(room))
	}
}

// TestLongestChain uses every descriptor of the queue for one chain.
func TestLongestChain(t *testing.T) {
	d := virtiotest.New(t, new(echo))
	d.Start(virtio.FeatureEventIdx)
	q := d.Queue(0)
	chain := []virtiotest.Buffer{d.Put([]byte("0123456789abcdef"))}
	for len(chain) < q.Size() {
		chain = append(chain, d.Room(1))
	}
	if n := q.Do(chain...); n != 15 {
		t.Errorf("%d bytes written, want 15", n)
	}
	if got := string(join(d, chain[1:])); got != "0123456789abcde" {
		t.Errorf("got %q", got)
	}
}

// TestIndicesWrap runs the 16-bit indices round, in batches that do not divide
// them.
func TestIndicesWrap(t *testing.T) {
	both(t, func(t *testing.T, features uint64) {
		d := virtiotest.New(t, new(echo))
		d.Start(features)
		q, in, out := d.Queue(0), d.Put([]byte("x")), d.Room(1)
		for n := 0; n < 1<<16+100; {
			for range 7 {
				q.Add(in, out)
				n++
			}
			q.Kick()
			for range 7 {
				q.Wait()
			}
		}
		echoes(t, d, 0)
	})
}

// TestNoNeedlessNotifications counts kicks and interrupts around a batch.
func TestNoNeedlessNotifications(t *testing.T) {
	both(t, func(t *testing.T, features uint64) {
		entered, leave := make(chan bool), make(chan bool)
		d := virtiotest.New(t, &echo{before: func() { entered <- true; <-leave }})
		d.Start(features)
		q, in := d.Queue(0), d.Put([]byte("x"))
		q.Add(in)
		q.Kick()
		<-entered
		for range 4 { // while the device is at work
			q.Add(in)
			if q.Kick() {
				t.Error("the working device wants a kick")
			}
		}
		for range 4 {
			leave <- true
			<-entered
		}
		if n := d.Interrupts(); n != 0 {
			t.Errorf("%d interrupts within a batch", n)
		}
		leave <- true
		for range 5 {
			q.Wait()
		}
		if n := d.Interrupts(); n > 1 {
			t.Errorf("%d interrupts for a batch", n)
		}
	})
}

// TestUnwantedInterrupt has a driver that wants none.
func TestUnwantedInterrupt(t *testing.T) {
	both(t, func(t *testing.T, features uint64) {
		e := new(echo)
		d := virtiotest.New(t, e)
		d.Start(features)
		q, in := d.Queue(0), d.Put([]byte("x"))
		q.Do(in)
		for d.Interrupts() == 0 { // Do looks at the used ring first: the interrupt may still be on its way
			time.Sleep(time.Millisecond)
		}
		before := d.Interrupts()
		q.SetNoInterrupt(true) // with event indices it is enough not to wait
		for range 3 {
			q.Add(in)
		}
		q.ForceKick()
		for n := 0; n < 3; {
			if _, _, ok := q.Used(); ok {
				n++
			}
		}
		d.Close() // what is on its way arrives
		// With event indices the driver last asked for the entry that is now the first.
		allowed := 0
		if features != 0 {
			allowed = 1
		}
		if n := d.Interrupts() - before; n > allowed {
			t.Errorf("%d interrupts that nobody wanted", n)
		}
	})
}

func TestRequestAllocatesNothing(t *testing.T) {
	both(t, func(t *testing.T, features uint64) {
		d := virtiotest.New(t, new(echo))
		d.Start(features)
		q, in, out := d.Queue(0), d.Put([]byte("abc")), d.Room(3)
		if n := testing.AllocsPerRun(100, func() { q.Do(in, out) }); n != 0 {
			t.Errorf("%v allocations per request", n)
		}
	})
}

// TestAdmit has a throttled request go back to the ring when the queue stops, and a
// new queue find it there.
func TestAdmit(t *testing.T) {
	c := config(t)
	q := emptyChains(t, c, 3)
	l := ratelimit.New(ratelimit.Limits{Ops: &ratelimit.Bucket{Size: 1, Refill: time.Hour}})
	served := make(chan bool)
	go func() { // ends by Stop
		defer close(served)
		q.Serve(func(*virtio.Chain) (uint32, bool) {
			ok := q.Admit(l, 0)
			served <- ok
			return 0, ok
		})
	}()
	if !<-served {
		t.Fatal("the first request is not admitted")
	}
	for l.Stats().Throttled == 0 {
		time.Sleep(time.Millisecond)
	}
	used, err := c.Memory.Slice(c.Used, 4)
	if err != nil {
		t.Fatal(err)
	}
	q.Stop()
	q.Stop() // once more is harmless
	if <-served {
		t.Error("a request is admitted after Stop")
	}
	<-served
	if used[2] != 1 {
		t.Errorf("%d requests are given back, want 1", used[2])
	}
	if s := q.State(); s != (virtio.QueueState{Avail: 1, Used: 1}) {
		t.Errorf("the queue stands at %+v", s)
	}
}
