package virtio

import (
	"sync"

	"github.com/mvm-project/mvm/ratelimit"
)

// Serve hands each chain to handle, which returns how many bytes it wrote to the
// chain's writable buffers, and gives the chain back. A handle that is not ok has
// found the queue stopped before it began: its chain is put back. All that is there
// at a kick is one batch: one store to the used ring, one interrupt at most. Serve
// returns when the queue is stopped or its ring is bad.
func (q *Queue) Serve(handle func(*Chain) (written uint32, ok bool)) {
	var c Chain
	for {
		for q.Next(&c) {
			n, ok := handle(&c)
			if !ok {
				q.Undo(1)
				break
			}
			q.Push(&c, n)
		}
		q.Flush()
		if !q.Wait() {
			return
		}
	}
}

// Admit charges l one request of n bytes, when that can pass. It returns false if
// the queue is stopped first. While the request waits the driver has all that was
// pushed before it.
func (q *Queue) Admit(l *ratelimit.Limiter, n int) bool {
	if l.Take(uint64(n)) {
		return true
	}
	q.Flush()
	return l.Wait(uint64(n), q.done)
}

// Workers are the goroutines that serve a device's queues, from its Start to its
// Stop. The zero Workers has none.
type Workers struct {
	queues []*Queue
	wg     sync.WaitGroup
}

// Go runs serve, which must return soon after q is stopped, in a goroutine that
// ends by Stop. A nil q, which the driver left disabled, is not served.
func (w *Workers) Go(q *Queue, serve func()) {
	if q == nil {
		return
	}
	w.queues = append(w.queues, q)
	w.wg.Go(serve)
}

// Stop stops the queues and returns when the goroutines have ended.
func (w *Workers) Stop() {
	for _, q := range w.queues {
		q.Stop()
	}
	w.wg.Wait()
	w.queues = nil
}
