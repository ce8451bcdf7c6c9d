package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxFile bounds what is read of a control file, in bytes.
const maxFile = 16 << 10

// Watcher follows a control file that the kernel announces changes of, by
// poll(2), which the runtime's poller does: no thread waits.
type Watcher struct {
	file *os.File
}

// Watch opens a file of the group's for Wait.
func (g Group) Watch(file string) (*Watcher, error) {
	path := filepath.Join(g.dir, file)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return &Watcher{file: os.NewFile(uintptr(fd), path)}, nil
}

// Close ends a Wait under way.
func (w *Watcher) Close() error { return w.file.Close() }

// SetDeadline ends a Wait at t.
func (w *Watcher) SetDeadline(t time.Time) error { return w.file.SetReadDeadline(t) }

// Wait calls seen with the file's text, now and after every change, until it
// says that it has seen enough.
func (w *Watcher) Wait(seen func(text string) bool) error {
	raw, err := w.file.SyscallConn()
	if err != nil {
		return err
	}
	buf := make([]byte, maxFile)
	var readErr error
	err = raw.Read(func(fd uintptr) bool {
		n, err := unix.Pread(int(fd), buf, 0)
		if errors.Is(err, unix.EINTR) {
			return false
		}
		if readErr = err; err != nil {
			return true
		}
		return seen(string(buf[:n]))
	})
	return errors.Join(err, readErr)
}

// Field is the value of key in a file of "key value" lines.
func Field(text, key string) (string, bool) {
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " "); ok && k == key {
			return v, true
		}
	}
	return "", false
}

// number is Field as a number; 0 if it is not there.
func number(text, key string) int64 {
	v, _ := Field(text, key)
	n, _ := strconv.ParseInt(v, 10, 64)
	return n
}

// OOMKills is how many processes of the group the kernel killed for want of
// memory, from the text of memory.events.
func OOMKills(text string) int64 { return number(text, "oom_kill") }

// OOMKills reads how many there were until now.
func (g Group) OOMKills() (int64, error) {
	text, err := g.read("memory.events")
	return OOMKills(text), err
}

// first is the whole of a file that holds one number, or "max", which is 0.
func (g Group) first(file string) (int64, error) {
	text, err := g.read(file)
	if err != nil {
		return 0, err
	}
	text = strings.TrimSpace(text)
	if text == "max" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", file, err)
	}
	return n, nil
}
