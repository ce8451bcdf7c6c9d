package seccomp

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// asConfined makes this test binary try what is left to it.
const asConfined = "MVM_TEST_SECCOMP"

func TestMain(m *testing.M) {
	if os.Getenv(asConfined) != "" {
		confined()
		return
	}
	os.Exit(m.Run())
}

// confined prints what it can do, and what it cannot.
func confined() {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	r := Rules{Calls: []string{"openat", "connect", "getsockname", "getpeername", "getsockopt", "setsockopt"}, Sockets: []uint64{unix.AF_INET}}
	if err := r.Apply(); err != nil {
		panic(err)
	}
	tries := map[string]func() error{
		"open":            func() error { f, err := os.Open("/dev/null"); return errors.Join(err, f.Close()) },
		"inet socket":     func() error { return socket(unix.AF_INET) },
		"inet6 socket":    func() error { return socket(unix.AF_INET6) },
		"packet socket":   func() error { return socket(unix.AF_PACKET) },
		"netlink":         func() error { _, err := net.Interfaces(); return err },
		"run":             func() error { return exec.Command("/bin/true").Run() },
		"exec":            func() error { return unix.Exec("/bin/true", []string{"true"}, nil) },
		"trace":           func() error { return unix.PtraceAttach(os.Getppid()) },
		"mount":           func() error { return unix.Mount("none", "/tmp", "tmpfs", 0, "") },
		"unshare":         func() error { return unix.Unshare(unix.CLONE_NEWUSER) },
		"kill":            func() error { return unix.Kill(os.Getpid(), 0) },
		"memory":          func() error { return mapped(unix.PROT_READ | unix.PROT_WRITE) },
		"program":         func() error { return mapped(unix.PROT_READ | unix.PROT_EXEC) },
		"make executable": makeExecutable,
	}
	for name, try := range tries {
		switch err := try(); {
		case err == nil:
			fmt.Println("yes", name)
		case errors.Is(err, unix.EPERM):
			fmt.Println("no", name)
		default:
			fmt.Println("error", name, err)
		}
	}
	work()
	fmt.Println("yes threads")
}

func socket(family int) error {
	fd, err := unix.Socket(family, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func mapped(prot int) error {
	b, err := unix.Mmap(-1, 0, 4096, prot, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	return unix.Munmap(b)
}

func makeExecutable() error {
	b, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	return errors.Join(unix.Mprotect(b, unix.PROT_READ|unix.PROT_EXEC), unix.Munmap(b))
}

// work is what the runtime has to be able to do: threads, collections, timers.
func work() {
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			runtime.LockOSThread() // a thread each
			garbage := make([][]byte, 0, 1000)
			for range cap(garbage) {
				garbage = append(garbage, make([]byte, 10000))
			}
			runtime.GC()
			time.Sleep(time.Millisecond)
			runtime.KeepAlive(garbage)
		})
	}
	wg.Wait()
}

func TestApply(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{asConfined + "=1"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		"yes open", "yes inet socket", "yes memory", "yes threads",
		"no inet6 socket", "no packet socket", "no netlink", "no run", "no exec", "no trace", "no mount", "no unshare", "no kill",
		"no program", "no make executable",
	} {
		if !strings.Contains("\n"+string(out), "\n"+want+"\n") {
			t.Errorf("%s is missing in:\n%s", want, out)
		}
	}
}

// TestNames: a call that there is none of is told, not left out.
func TestNames(t *testing.T) {
	p := Rules{Calls: []string{"nosuch"}}.policy()
	if _, err := p.Assemble(); err == nil || !strings.Contains(err.Error(), "nosuch") {
		t.Errorf("error %v", err)
	}
}
