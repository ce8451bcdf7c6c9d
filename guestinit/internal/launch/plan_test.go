package launch

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// group opens a control group's folder: the root's, which all may join.
func group(t *testing.T) *os.File {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("cgroup", dir, "cgroup2", 0, ""); err != nil {
		t.Fatalf("mount cgroup2, as root: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// carry starts a plan on a thread of its own, and returns what it wrote to its
// standard output and how it ended.
func carry(t *testing.T, cgroup *os.File, flags uint64, write func(p *plan)) (text string, status unix.WaitStatus, err error) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var p plan
	p.do(because("take a stream"), unix.SYS_DUP3, w.Fd(), 1, 0)
	write(&p)
	var b born
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		b2, err := p.start(flags, cgroup, out)
		b = b2
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	closeAll([]*os.File{w, out})
	err = p.told(in)
	bytes, _ := io.ReadAll(r)
	closeAll([]*os.File{r, in})
	if _, err := unix.Wait4(b.pid, &status, 0, nil); err != nil {
		t.Errorf("wait for %d: %v", b.pid, err)
	}
	if flags&unix.CLONE_VM != 0 && b.inner != b.pid {
		t.Errorf("its number is %d, inside %d", b.pid, b.inner)
	}
	_ = unix.Close(b.pidfd)
	return string(bytes), status, err
}

func run(p *plan, paths ...string) {
	argv, envp := p.texts([]string{"sh", "-c", `echo "$X $PWD"; exit 3`}), p.texts([]string{"X=y"})
	for _, path := range paths {
		p.do(because(path), unix.SYS_EXECVE, p.text(path), argv, envp).exec = true
	}
}

const shared = unix.CLONE_VM | unix.CLONE_VFORK

func TestPlan(t *testing.T) {
	cgroup, dir := group(t), t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, flags := range map[string]uint64{"shared": shared, "apart": 0} {
		t.Run(name, func(t *testing.T) {
			text, status, err := carry(t, cgroup, flags, func(p *plan) {
				p.do(because("never"), unix.SYS_RMDIR, p.text(dir+"/none")).accept = unix.ENOENT
				c := p.do(because("never"), unix.SYS_RMDIR, p.text(dir+"/none"))
				c.accept, c.skip = unix.ENOENT, 1
				p.do(because("is left out"), unix.SYS_CHDIR, p.text("/none"))
				p.writeFile(file, "abc", because("write"))
				p.do(because("go there"), unix.SYS_CHDIR, p.text(dir))
				run(p, dir+"/none", file, "/bin/sh", "/bin/false")
			})
			if err != nil || text != "y "+dir+"\n" || status.ExitStatus() != 3 {
				t.Errorf("%q, %v, %v", text, status, err)
			}
			if b, err := os.ReadFile(file); err != nil || string(b) != "abc45" {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
}

func TestPlanFails(t *testing.T) {
	cgroup, dir := group(t), t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what  string // failed
		errno unix.Errno
		write func(p *plan)
	}{
		{"second", unix.ENOENT, func(p *plan) {
			p.do(because("first"), unix.SYS_CHDIR, p.text("/"))
			p.do(because("second"), unix.SYS_CHDIR, p.text("/none"))
			run(p, "/bin/sh")
		}},
		{"another", unix.ENOTDIR, func(p *plan) {
			p.do(because("another"), unix.SYS_CHDIR, p.text(file)).accept = unix.ENOENT
			run(p, "/bin/sh")
		}},
	} {
		text, status, err := carry(t, cgroup, shared, c.write)
		if !errors.Is(err, c.errno) || !strings.Contains(err.Error(), c.what) || text != "" || status.ExitStatus() != 1 {
			t.Errorf("%s: %q, %v, %v", c.what, text, status, err)
		}
	}
	for _, c := range []struct {
		paths []string
		errno unix.Errno
		path  string
	}{
		{[]string{"/none", "/nowhere"}, unix.ENOENT, "/nowhere"},
		{[]string{"/none", file, "/nowhere", "/"}, unix.EACCES, file},
		{[]string{file + "/x", "/none"}, unix.ENOENT, "/none"},
	} {
		_, _, err := carry(t, cgroup, shared, func(p *plan) { run(p, c.paths...) })
		if !errors.Is(err, c.errno) || !strings.HasPrefix(err.Error(), c.path+":") {
			t.Errorf("%v: %v", c.paths, err)
		}
	}
}

// TestPlanBesideTheRuntime: the runtime collects garbage, moves stacks and
// preempts while children run in this process's memory.
func TestPlanBesideTheRuntime(t *testing.T) {
	cgroup := group(t)
	stop := make(chan struct{})
	var others sync.WaitGroup
	for range 4 {
		others.Go(func() { // ends by stop
			for {
				select {
				case <-stop:
					return
				default:
					deep(200, make([]byte, 1<<12))
					runtime.GC()
				}
			}
		})
	}
	var starts sync.WaitGroup
	for range 8 {
		starts.Go(func() {
			for range 25 {
				text, status, err := carry(t, cgroup, shared, func(p *plan) { run(p, "/none", "/bin/sh") })
				if err != nil || !strings.HasPrefix(text, "y ") || status.ExitStatus() != 3 {
					t.Errorf("%q, %v, %v", text, status, err)
				}
			}
		})
	}
	starts.Wait()
	close(stop)
	others.Wait()
}

// deep grows the stack.
func deep(n int, b []byte) int {
	var room [256]byte
	copy(room[:], b)
	if n == 0 {
		return int(room[0])
	}
	return deep(n-1, b) + int(room[n%256])
}
