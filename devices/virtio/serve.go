package virtio

import "sync"

// Serve hands each chain to handle, which returns how many bytes it wrote to the
// chain's writable buffers, and gives the chain back. All that is there at a kick is
// one batch: one store to the used ring, one interrupt at most. Serve returns when
// the queue is stopped or its ring is bad.
func (q *Queue) Serve(handle func(*Chain) uint32) {
	var c Chain
	for {
		for q.Next(&c) {
			q.Push(&c, handle(&c))
		}
		q.Flush()
		if !q.Wait() {
			return
		}
	}
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
