package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/internal/launch"
	"github.com/mvm-project/mvm/guestinit/internal/procs"
	"github.com/mvm-project/mvm/guestinit/internal/reaper"
	"github.com/mvm-project/mvm/guestinit/proto"
)

// conn is a connection to the host: a vsock stream.
type conn interface {
	io.ReadWriteCloser
	CloseRead() error
	CloseWrite() error
}

// session is the conversation with the host, and all that runs for it.
type session struct {
	control conn
	dial    func(proto.Message) (conn, error)
	self    *os.File // this program
	reaper  *reaper.Reaper

	sending sync.Mutex // held while a frame is written

	// For serve's goroutine alone.
	ready     bool // Setup was done
	delegated bool // the cgroup hierarchy is there
	procfs    bool // procDir is mounted
	created   int  // containers, ever: each has a number for its folders

	mu         sync.Mutex
	containers map[string]*container
}

func newSession(control conn, dial func(proto.Message) (conn, error), self *os.File) *session {
	return &session{control: control, dial: dial, self: self, reaper: reaper.New(), containers: map[string]*container{}}
}

// send tells the host. A host that is gone takes the machine with it.
func (s *session) send(m proto.Message) {
	s.sending.Lock()
	defer s.sending.Unlock()
	_ = proto.WriteMessage(s.control, m)
}

// maxErrorText bounds an error's text, which may quote anything, in bytes.
const maxErrorText = 4096

// reply answers request id.
func (s *session) reply(id uint64, r proto.Reply, err error) {
	if err != nil {
		e := proto.ErrorOf(err)
		e.Text = e.Text[:min(len(e.Text), maxErrorText)]
		r = proto.Reply{Error: e}
	}
	r.ID = id
	s.send(proto.Message{Reply: &r})
}

// serve does what the host asks for, until it closes the connection.
func (s *session) serve() error {
	in := bufio.NewReader(s.control) // requests come several at a time
	for {
		q, err := proto.ReadRequest(in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("hear from the host: %w", err)
		}
		s.do(q)
	}
}

// do begins one request, in the order they come. What takes long is finished by
// a goroutine, which replies.
func (s *session) do(q proto.Request) {
	if s.ready == (q.Setup != nil) {
		s.reply(q.ID, proto.Reply{}, proto.Errorf(proto.Invalid, "Setup comes first, and once"))
		return
	}
	switch {
	case q.Spawn != nil:
		s.spawn(q.ID, *q.Spawn)
	case q.Delete != nil:
		go func() { // ends with the container
			s.reply(q.ID, proto.Reply{}, s.remove(q.Delete.Container))
		}()
	case q.Freeze != nil:
		go func() { // ends within freezePatience
			s.reply(q.ID, proto.Reply{}, s.freeze(*q.Freeze))
		}()
	default:
		r, err := s.answer(q)
		s.reply(q.ID, r, err)
	}
}

// answer does a request that takes no time.
func (s *session) answer(q proto.Request) (proto.Reply, error) {
	switch {
	case q.Setup != nil:
		return proto.Reply{}, s.setUp(*q.Setup)
	case q.Create != nil:
		return proto.Reply{}, s.create(q.Create.Container)
	case q.Signal != nil:
		return proto.Reply{}, s.signal(*q.Signal)
	case q.Resize != nil:
		return proto.Reply{}, s.resize(*q.Resize)
	case q.Update != nil:
		return proto.Reply{}, s.update(*q.Update)
	case q.List != nil:
		return s.list(q.List.Container)
	case q.Stats != nil:
		return s.stats(q.Stats.Container)
	}
	return proto.Reply{}, proto.Errorf(proto.Invalid, "this request is not known here")
}

// setUp prepares the machine.
func (s *session) setUp(m proto.Setup) error {
	s.ready = true
	return errors.Join(raiseFiles(), seedRandom(m.Seed), setClock(m.Time), loopbackUp(), setInterface(m.Interface))
}

func (s *session) signal(m proto.Signal) error {
	signo := unix.Signal(m.Signo)
	if m.Process == "" {
		c, err := s.find(m.Container)
		if err != nil {
			return err
		}
		if signo == unix.SIGKILL {
			return c.group.Kill()
		}
		return c.group.Signal(signo)
	}
	p, err := s.findProcess(m.Container, m.Process)
	if err != nil {
		return err
	}
	if err := s.reaper.Kill(p.pid, signo); errors.Is(err, unix.ESRCH) {
		return proto.Errorf(proto.NoProcess, "process %s has ended", m.Process)
	} else if err != nil {
		return fmt.Errorf("signal %d to process %s: %w", m.Signo, m.Process, err)
	}
	return nil
}

func (s *session) resize(m proto.Resize) error {
	p, err := s.findProcess(m.Container, m.Process)
	if err != nil {
		return err
	}
	if p.terminal == nil {
		return proto.Errorf(proto.Invalid, "process %s has no terminal", m.Process)
	}
	raw, err := p.terminal.SyscallConn()
	if err != nil {
		return err
	}
	var sizeErr error
	err = raw.Control(func(fd uintptr) {
		sizeErr = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: m.Size.Rows, Col: m.Size.Cols})
	})
	return errors.Join(err, sizeErr)
}

// freezePatience bounds how long it may take until all processes have stopped:
// one that waits for a disk does so first.
const freezePatience = 10 * time.Second

func (s *session) freeze(m proto.Freeze) error {
	c, err := s.find(m.Container)
	if err != nil {
		return err
	}
	s.mu.Lock()
	c.frozen = !m.Thaw
	s.mu.Unlock()
	return c.group.Freeze(!m.Thaw, freezePatience)
}

func (s *session) update(m proto.Update) error {
	c, err := s.find(m.Container)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return c.limit(m.Limits)
}

func (s *session) stats(id string) (proto.Reply, error) {
	c, err := s.find(id)
	if err != nil {
		return proto.Reply{}, err
	}
	u, err := c.group.Usage()
	return proto.Reply{Usage: &u}, err
}

// listRoom is how much of a frame a list of processes may take, in bytes.
const listRoom = proto.MaxMessage - 4096

// list describes a container's processes, as many as fit.
func (s *session) list(id string) (proto.Reply, error) {
	c, err := s.find(id)
	if err != nil {
		return proto.Reply{}, err
	}
	pids, err := c.group.PIDs()
	if err != nil {
		return proto.Reply{}, err
	}
	p, err := s.proc()
	if err != nil {
		return proto.Reply{}, err
	}
	// A process takes some 150 bytes at least: of more than these, not all fit.
	const most = listRoom / 150
	answer := proto.Processes{Truncated: len(pids) > most}
	room := listRoom
	for _, info := range p.List(pids[:min(len(pids), most)]) {
		info.ID = s.nameOf(c, info.VMPID)
		text, err := json.Marshal(info)
		if err != nil {
			return proto.Reply{}, err
		}
		if room -= len(text) + 1; room < 0 {
			answer.Truncated = true
			break
		}
		answer.List = append(answer.List, info)
	}
	return proto.Reply{Processes: &answer}, nil
}

// mountProc mounts what PID 1 can do without until it is asked for: the machine's
// procfs.
func (s *session) mountProc() error {
	if s.procfs {
		return nil
	}
	err := launch.MountAll([]launch.Mount{{Source: "proc", Target: procDir, FSType: "proc"}})
	s.procfs = err == nil
	return err
}

// proc is the machine's procfs.
func (s *session) proc() (procs.Proc, error) {
	if err := s.mountProc(); err != nil {
		return procs.Proc{}, err
	}
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return procs.Proc{}, err
	}
	return procs.Proc{Dir: procDir, Boot: time.Now().UnixNano() - up.Nano()}, nil
}
