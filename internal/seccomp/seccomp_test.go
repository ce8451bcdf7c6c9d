package seccomp

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// asConfined makes this test binary try what is left to the program of that name.
const asConfined = "MVM_TEST_SECCOMP"

func filters() map[string]func() []unix.SockFilter {
	return map[string]func() []unix.SockFilter{"mvm-vmm": VMM, "mvm-netd": Network, "mvm-fsd": Folders}
}

func TestMain(m *testing.M) {
	if program := os.Getenv(asConfined); program != "" {
		confined(filters()[program]())
		return
	}
	os.Exit(m.Run())
}

// confined prints what it can do, and what it cannot.
func confined(filter []unix.SockFilter) {
	busy := make(chan struct{})
	started := make(chan bool)
	go func() { // a thread that there is before the filter; ends with busy
		runtime.LockOSThread()
		started <- true
		<-busy
		report("exec of an older thread", unix.Exec("/bin/true", []string{"true"}, nil))
		started <- true
	}()
	<-started
	if err := Apply(filter); err != nil {
		panic(err)
	}
	close(busy)
	<-started
	me := os.Getpid()
	for name, try := range map[string]func() error{
		"open":            func() error { f, err := os.Open("/dev/null"); return errors.Join(err, f.Close()) },
		"unix socket":     func() error { return socket(unix.AF_UNIX) },
		"inet socket":     func() error { return socket(unix.AF_INET) },
		"inet6 socket":    func() error { return socket(unix.AF_INET6) },
		"packet socket":   func() error { return socket(unix.AF_PACKET) },
		"vsock socket":    func() error { return socket(unix.AF_VSOCK) },
		"netlink":         func() error { _, err := net.Interfaces(); return err },
		"run":             func() error { return exec.Command("/bin/true").Run() },
		"exec":            func() error { return unix.Exec("/bin/true", []string{"true"}, nil) },
		"trace":           func() error { return unix.PtraceAttach(os.Getppid()) },
		"mount":           func() error { return unix.Mount("none", "/tmp", "tmpfs", 0, "") },
		"unshare":         func() error { return unix.Unshare(unix.CLONE_NEWUSER) },
		"kill":            func() error { return unix.Kill(me, 0) },
		"kill a thread":   func() error { return unix.Tgkill(me, me, unix.SIGKILL) },
		"wake a thread":   func() error { return unix.Tgkill(me, me, unix.SIGURG) },
		"limit another":   func() error { return unix.Prlimit(os.Getppid(), unix.RLIMIT_NOFILE, nil, &unix.Rlimit{}) },
		"memory":          func() error { return mapped(unix.PROT_READ | unix.PROT_WRITE) },
		"program":         func() error { return mapped(unix.PROT_READ | unix.PROT_EXEC) },
		"make executable": makeExecutable,
		"make a folder":   func() error { return unix.Mkdirat(unix.AT_FDCWD, "/", 0) },
		"fork":            func() error { return fork(uintptr(unix.SIGCHLD)) },
		"fork disguised":  func() error { return fork(unix.SYS_MMAP) }, // whose flags are the number of a call
		"type":            func() error { return unix.IoctlSetPointerInt(0, unix.TIOCSTI, 'x') },
		"turbo mode":      func() error { return request(kvmGetMSRs) },
		"run a vCPU":      func() error { return request(kvmRun) },
	} {
		report(name, try())
	}
	work()
	report("threads", nil)
}

const (
	kvmRun     = 0xae80
	kvmGetMSRs = 0xc008ae88
)

// request makes an ioctl of a pipe, which has none like it.
func request(number int) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _, _ = r.Close(), w.Close() }()
	if err := unix.IoctlSetInt(int(r.Fd()), uint(number), 0); !errors.Is(err, unix.ENOTTY) {
		return err
	}
	return nil
}

// fork makes a process, which ends at once, with that signal.
func fork(signal uintptr) error {
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, signal, 0, 0, 0, 0, 0)
	if pid == 0 && errno == 0 {
		_, _, _ = unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
	}
	if errno != 0 {
		return errno
	}
	return nil
}

func report(name string, err error) {
	switch {
	case err == nil, errors.Is(err, unix.EEXIST):
		fmt.Println("yes", name)
	case errors.Is(err, unix.EPERM):
		fmt.Println("no", name)
	default:
		fmt.Println("error", name, err)
	}
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

// TestApply: what each program can do, and cannot.
func TestApply(t *testing.T) {
	all := map[string]string{
		"mvm-vmm":  "open, unix socket, run a vCPU",
		"mvm-netd": "open, inet socket, inet6 socket",
		"mvm-fsd":  "open, make a folder",
	}
	for program, can := range all {
		t.Run(program, func(t *testing.T) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = []string{asConfined + "=" + program}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			got := strings.Split(strings.TrimSpace(string(out)), "\n")
			slices.Sort(got)
			want := expected(strings.Split("memory, threads, wake a thread, "+can, ", "))
			if !slices.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// expected is the report of who can do this and nothing else.
func expected(can []string) []string {
	var lines []string
	for _, what := range strings.Split("exec, exec of an older thread, fork, fork disguised, inet socket, inet6 socket, kill, kill a thread, limit another, make a folder, "+
		"make executable, memory, mount, netlink, open, packet socket, program, run, run a vCPU, threads, trace, turbo mode, "+
		"type, unix socket, unshare, vsock socket, wake a thread", ", ") {
		word := "no "
		if slices.Contains(can, what) {
			word = "yes "
		}
		lines = append(lines, word+what)
	}
	slices.Sort(lines)
	return lines
}
