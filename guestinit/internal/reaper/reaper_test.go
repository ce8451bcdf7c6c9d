package reaper

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain makes this program, started again, the reaper of all that is below
// it, as PID 1 is.
func TestMain(m *testing.M) {
	if n, err := strconv.Atoi(os.Getenv("REAPER_TEST")); err == nil {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			panic(err)
		}
		os.Exit(storm(n))
	}
	os.Exit(m.Run())
}

// storm starts n processes, each of which leaves orphans behind and ends at once
// with a status of its own, and returns how many statuses were lost.
func storm(n int) int {
	r := New()
	go r.Run() // as long as the program
	var wg sync.WaitGroup
	var mu sync.Mutex
	lost := 0
	for i := range n {
		wg.Add(1)
		want := i % 200
		_, err := r.Start(func() (int, error) {
			script := "(true & true &) ; exit " + strconv.Itoa(want)
			return syscall.ForkExec("/bin/sh", []string{"sh", "-c", script}, &syscall.ProcAttr{})
		}, func(e Ending) {
			defer wg.Done()
			mu.Lock()
			defer mu.Unlock()
			if e.Status.ExitStatus() != want || e.Rusage.Maxrss == 0 {
				lost++
			}
		})
		if err != nil {
			return 255
		}
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		return 254
	}
	// The orphans have been taken away too.
	for range 100 {
		if err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil); errors.Is(err, unix.ECHILD) {
			return lost
		}
		time.Sleep(50 * time.Millisecond)
	}
	return 253
}

func TestStorm(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "REAPER_TEST=200")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: 253 zombies left, 254 a status never came, else so many lost\n%s", err, out)
	}
}

func TestKill(t *testing.T) {
	r := New()
	ended := make(chan Ending, 1)
	pid, err := r.Start(func() (int, error) {
		return syscall.ForkExec("/bin/sleep", []string{"sleep", "1000"}, &syscall.ProcAttr{})
	}, func(e Ending) { ended <- e })
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Kill(os.Getppid(), 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("another's process: %v", err)
	}
	if err := r.Kill(pid, unix.SIGKILL); err != nil {
		t.Error(err)
	}
	go r.Run() // as long as the program
	if e := <-ended; e.Status.Signal() != unix.SIGKILL {
		t.Errorf("%v", e.Status)
	}
	if err := r.Kill(pid, unix.SIGKILL); !errors.Is(err, unix.ESRCH) {
		t.Errorf("after its end: %v", err)
	}
	if _, err := r.Start(func() (int, error) { return 0, unix.EAGAIN }, nil); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("%v", err)
	}
}
