// Package cgroup is one control group of the unified hierarchy (cgroup v2,
// Documentation/admin-guide/cgroup-v2.rst), by its files.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Controllers are those that a container's group has.
const Controllers = "+cpu +cpuset +memory +pids +io"

// Group is a group's folder.
type Group struct {
	dir string
}

// Open is the group at dir, which may have to be made.
func Open(dir string) Group { return Group{dir: dir} }

// Delegate makes the controllers available to the group's children.
func (g Group) Delegate() error { return g.write("cgroup.subtree_control", Controllers) }

// Make makes the group.
func (g Group) Make() error { return os.Mkdir(g.dir, 0o755) }

// Folder opens the group's folder, for CLONE_INTO_CGROUP.
func (g Group) Folder() (*os.File, error) { return os.Open(g.dir) }

// write writes a control file, in one write(2) as the kernel wants it.
func (g Group) write(file, text string) error {
	f, err := os.OpenFile(filepath.Join(g.dir, file), os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("set %s to %q: %w", file, text, plain(err))
	}
	return nil
}

func (g Group) read(file string) (string, error) {
	b, err := os.ReadFile(filepath.Join(g.dir, file))
	return string(b), err
}

// plain is err without the path of a file that means nothing to the user.
func plain(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// PIDs are the processes in the group.
func (g Group) PIDs() ([]int, error) {
	text, err := g.read("cgroup.procs")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, field := range strings.Fields(text) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, fmt.Errorf("cgroup.procs: %w", err)
		}
		if pid > 0 { // 0: of another PID namespace
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// Kill ends every process of the group, those that are just being born too.
func (g Group) Kill() error { return g.write("cgroup.kill", "1") }

// Signal sends signo to every process of the group. Kill is the way to end all.
func (g Group) Signal(signo unix.Signal) error {
	pids, err := g.PIDs()
	if err != nil {
		return err
	}
	var errs []error
	for _, pid := range pids {
		if err := unix.Kill(pid, signo); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("signal %d to process %d: %w", signo, pid, err))
		}
	}
	return errors.Join(errs...)
}

// Freeze stops every process of the group, or lets them go on, and waits until
// that is so, no longer than patience.
func (g Group) Freeze(frozen bool, patience time.Duration) error {
	want := "0"
	if frozen {
		want = "1"
	}
	if err := g.write("cgroup.freeze", want); err != nil {
		return err
	}
	return g.await("frozen", want, patience)
}

// Empty waits until no process is left in the group, no longer than patience.
func (g Group) Empty(patience time.Duration) error { return g.await("populated", "0", patience) }

// await waits until key has a value in cgroup.events.
func (g Group) await(key, value string, patience time.Duration) error {
	w, err := g.Watch("cgroup.events")
	if err != nil {
		return err
	}
	defer func() { _ = w.Close() }()
	if err := w.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	var last string
	err = w.Wait(func(text string) bool {
		last, _ = Field(text, key)
		return last == value
	})
	if err != nil {
		return fmt.Errorf("wait for %s %s (it is %s): %w", key, value, last, err)
	}
	return nil
}

// Remove removes the group, which must be empty.
func (g Group) Remove() error {
	// Of groups that the container made in its own, the deepest go first.
	entries, err := os.ReadDir(g.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := Open(filepath.Join(g.dir, e.Name())).Remove(); err != nil {
				return err
			}
		}
	}
	return unix.Rmdir(g.dir)
}
