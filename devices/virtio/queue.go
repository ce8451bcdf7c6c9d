package virtio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/devices/virtio/internal/guestmem"
)

// MaxQueueSize is the largest size a split virtqueue can have (spec 2.7).
const MaxQueueSize = 1 << 15

// Layout of a split virtqueue (spec 2.7.5, 2.7.6, 2.7.8). Avail and used ring
// both begin with flags and idx, 16 bits each.
const (
	descSize     = 16
	usedElemSize = 8
	ringHeader   = 4
	idxOffset    = 2
	eventSize    = 2

	descNext     = 1 << 0 // VIRTQ_DESC_F_NEXT
	descWrite    = 1 << 1 // VIRTQ_DESC_F_WRITE
	descIndirect = 1 << 2 // VIRTQ_DESC_F_INDIRECT

	availNoInterrupt = 1 // VIRTQ_AVAIL_F_NO_INTERRUPT
	usedNoNotify     = 1 // VIRTQ_USED_F_NO_NOTIFY
)

// QueueConfig is what a transport knows of a virtqueue that its driver set up.
type QueueConfig struct {
	Memory   Memory
	Features uint64 // as the driver accepted them
	// Size is how many descriptors there are; Desc, Avail and Used are the GPAs
	// of the descriptor table, the driver area and the device area.
	Size              uint16
	Desc, Avail, Used uint64
	State             QueueState
	// Kick is a non-blocking eventfd, readable when the driver notifies. Only
	// the queue reads it, until Stop.
	Kick *os.File
	// Spare is what its worker may keep while it waits.
	Spare *Spare
	// Interrupt tells the driver that it has used buffers to look at.
	Interrupt func()
	// Fail tells the transport that the driver broke the rules of the ring and
	// that the queue has stopped for good; called once at most. Interrupt and
	// Fail are called by the goroutine that serves the queue.
	Fail func(error)
}

// QueueState is where a queue stands between two of its driver's requests; zero
// for a new queue.
type QueueState struct {
	Avail uint16 // index of the next entry to take from the available ring
	Used  uint16 // index of the next entry to put into the used ring
}

// Queue is the device's side of a split virtqueue (spec 2.7). One goroutine at a
// time uses it; only Stop may be called from others.
//
// The driver is hostile: each descriptor is read once, a chain is at most Size
// descriptors and 4 GiB-1 long, every address goes through Memory, and at most
// Size chains are out at a time. On a broken rule the queue calls Fail, and then
// Next and Wait return false.
type Queue struct {
	cfg               QueueConfig
	desc, avail, used []byte // the three areas, in guest memory
	eventIdx          bool

	next      uint16 // next entry to take from the available ring
	availIdx  uint16 // the driver's idx as last seen
	filled    uint16 // next entry to fill in the used ring
	published uint16 // our idx as the driver sees it

	broken  bool
	stopped atomic.Bool
	done    chan struct{} // closed when stopped

	kick syscall.RawConn
	try  func(fd uintptr) bool // takeKick, made once: a method value allocates

	count [8]byte // the eventfd's counter, read and ignored
}

// NewQueue returns the queue that cfg describes. It fails if the driver laid the
// queue where it cannot be.
func NewQueue(cfg QueueConfig) (*Queue, error) {
	q := &Queue{
		cfg:       cfg,
		eventIdx:  cfg.Features&FeatureEventIdx != 0,
		next:      cfg.State.Avail,
		availIdx:  cfg.State.Avail,
		filled:    cfg.State.Used,
		published: cfg.State.Used,
		done:      make(chan struct{}),
	}
	q.try = q.takeKick
	if cfg.Size == 0 || cfg.Size&(cfg.Size-1) != 0 || cfg.Size > MaxQueueSize {
		return nil, fmt.Errorf("queue size %d is not a power of two up to %d", cfg.Size, MaxQueueSize)
	}
	n := int(cfg.Size)
	for _, a := range []struct {
		name        string
		area        *[]byte
		gpa, align  uint64
		header, per int
	}{
		{"descriptor table", &q.desc, cfg.Desc, 16, 0, descSize},
		{"available ring", &q.avail, cfg.Avail, 2, ringHeader + eventSize, 2},
		{"used ring", &q.used, cfg.Used, 4, ringHeader + eventSize, usedElemSize},
	} {
		if a.gpa%a.align != 0 {
			return nil, fmt.Errorf("%s at %#x is not aligned to %d bytes", a.name, a.gpa, a.align)
		}
		b, err := cfg.Memory.Slice(a.gpa, a.header+n*a.per)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", a.name, err)
		}
		*a.area = b
	}
	// An earlier queue on this eventfd left its deadline behind.
	if err := cfg.Kick.SetReadDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("kick eventfd: %w", err)
	}
	kick, err := cfg.Kick.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("kick eventfd: %w", err)
	}
	q.kick = kick
	q.publish(usedNoNotify) // until Wait asks
	return q, nil
}

// Size is how many descriptors the queue has.
func (q *Queue) Size() uint16 { return q.cfg.Size }

// State is where the queue stands. It is only meaningful when the device is
// stopped and every chain it took was pushed and flushed.
func (q *Queue) State() QueueState { return QueueState{Avail: q.next, Used: q.published} }

// Next fills c with the next chain and reports whether there was one. It returns
// false when the ring is empty, the queue is stopped or the ring is bad.
func (q *Queue) Next(c *Chain) bool {
	if q.broken || q.stopped.Load() || !q.available() {
		return false
	}
	head := binary.LittleEndian.Uint16(q.avail[ringHeader+2*int(q.next%q.cfg.Size):])
	if err := q.walk(c, head); err != nil {
		q.fail(err)
		return false
	}
	q.next++
	return true
}

// available reports whether the driver has offered an entry not yet taken.
func (q *Queue) available() bool {
	if q.next != q.availIdx {
		return true
	}
	q.availIdx = guestmem.Load16(q.avail, idxOffset)
	// Each chain holds a descriptor until the driver sees it in the used ring, so
	// more than Size cannot be out. This also bounds how many chains Next gives
	// before the device has to flush.
	if out := q.availIdx - q.published; out > q.cfg.Size {
		q.fail(fmt.Errorf("%d chains are offered or in use in a ring of %d", out, q.cfg.Size))
		return false
	}
	return q.next != q.availIdx
}

// walk fills c with the chain that begins at descriptor head.
func (q *Queue) walk(c *Chain, head uint16) error {
	c.head, c.segments = head, c.segments[:0]
	readable, total := 0, uint64(0)
	writing := false
	for i, n := head, 0; ; n++ {
		if i >= q.cfg.Size {
			return fmt.Errorf("descriptor %d of a queue of %d", i, q.cfg.Size)
		}
		if n == int(q.cfg.Size) {
			return fmt.Errorf("the chain at descriptor %d has a loop", head)
		}
		// The one read of this descriptor.
		d := q.desc[int(i)*descSize:][:descSize]
		gpa := binary.LittleEndian.Uint64(d)
		size := binary.LittleEndian.Uint32(d[8:])
		flags := binary.LittleEndian.Uint16(d[12:])
		next := binary.LittleEndian.Uint16(d[14:])

		if flags&descIndirect != 0 {
			return fmt.Errorf("descriptor %d is indirect, which was not offered", i)
		}
		if writing && flags&descWrite == 0 {
			return fmt.Errorf("descriptor %d is readable after writable ones", i)
		}
		writing = flags&descWrite != 0
		if total += uint64(size); total > math.MaxUint32 {
			return fmt.Errorf("the chain at descriptor %d has 4 GiB or more", head)
		}
		if size > 0 {
			b, err := q.cfg.Memory.Slice(gpa, int(size))
			if err != nil {
				return fmt.Errorf("descriptor %d: %w", i, err)
			}
			c.segments = append(c.segments, b)
			if !writing {
				readable++
			}
		}
		if flags&descNext == 0 {
			break
		}
		i = next
	}
	c.Readable, c.Writable = c.segments[:readable:readable], c.segments[readable:]
	return nil
}

// Undo puts the n chains that Next gave last, none of them pushed, back: as if they
// had never been taken.
func (q *Queue) Undo(n int) { q.next -= uint16(n) }

// Push gives c back to the driver with written bytes of its writable buffers
// filled, counted from their beginning. The driver sees it at the next Flush.
func (q *Queue) Push(c *Chain, written uint32) {
	e := q.used[ringHeader+usedElemSize*int(q.filled%q.cfg.Size):][:usedElemSize]
	binary.LittleEndian.PutUint32(e, uint32(c.head))
	binary.LittleEndian.PutUint32(e[4:], written)
	q.filled++
}

// Flush shows the driver all that was pushed, and interrupts it if it asked for
// that.
func (q *Queue) Flush() {
	if q.filled == q.published {
		return
	}
	old := q.published
	q.published = q.filled
	// A full barrier: the driver writes its wish and then reads idx, we write
	// idx and then read its wish; one of the two sees the other's write.
	q.publish(usedNoNotify)
	if q.wantsInterrupt(old) {
		q.cfg.Interrupt()
	}
}

// publish stores the used ring's flags and idx, both ours, in one store. With
// event indices the flags stay zero (spec 2.7.10.1).
func (q *Queue) publish(flags uint16) {
	if q.eventIdx {
		flags = 0
	}
	guestmem.Store16x2(q.used, 0, flags, q.published)
}

// wantsInterrupt reports whether the driver wants to know that the used ring's
// idx went from old to what is published (spec 2.7.7.2).
func (q *Queue) wantsInterrupt(old uint16) bool {
	if !q.eventIdx {
		return guestmem.Load16(q.avail, 0)&availNoInterrupt == 0
	}
	event := guestmem.Load16(q.avail, ringHeader+2*int(q.cfg.Size))
	return q.published-event-1 < q.published-old
}

// Wait returns true when the driver has offered a chain, at once if it already
// has, or may have; and false when the queue is stopped or its ring is bad: then
// the service of the queue is over. While nobody waits the driver need not kick.
func (q *Queue) Wait() bool {
	if q.broken || q.stopped.Load() {
		return false
	}
	q.askForKick()
	if !q.available() && !q.broken {
		if err := q.kick.Read(q.try); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, os.ErrClosed) {
				q.fail(fmt.Errorf("wait for a kick: %w", err))
			}
			return false
		}
	}
	if !q.eventIdx {
		q.publish(usedNoNotify)
	}
	return !q.broken
}

// takeKick takes a kick, if one comes soon.
func (q *Queue) takeKick(fd uintptr) bool {
	q.Linger(fd)
	_, err := unix.Read(int(fd), q.count[:])
	return err == nil
}

// Linger waits for a moment, for the queue's worker, until fd is readable, if that
// can be had for less than a wait in the poller. It reports whether fd is.
func (q *Queue) Linger(fd uintptr) bool { return q.cfg.Spare.linger(fd) }

// askForKick asks the driver to notify when it offers the next chain. Both
// stores are full barriers, so that the look at the ring that follows cannot
// miss an entry whose driver has not seen the wish.
func (q *Queue) askForKick() {
	if q.eventIdx {
		guestmem.Store16(q.used, ringHeader+usedElemSize*int(q.cfg.Size), q.next)
		return
	}
	q.publish(0)
}

// Stop makes Wait and Next return false, now and for ever. The goroutine that
// serves the queue ends by that; Stop does not wait for it.
func (q *Queue) Stop() {
	if !q.stopped.Swap(true) {
		close(q.done)
	}
	_ = q.cfg.Kick.SetReadDeadline(time.Unix(1, 0)) // fails only if closed, which also ends Wait
}

func (q *Queue) fail(err error) {
	q.broken = true
	q.cfg.Fail(err)
}
