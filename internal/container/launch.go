package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/internal/control"
)

// Program is the name of the VMM's program.
const Program = "mvm-vmm"

// FindVMM finds mvm-vmm beside this program, or else in $PATH.
func FindVMM() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(self), Program)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	path, err = exec.LookPath(Program)
	if err != nil {
		return "", fmt.Errorf("%s is neither beside %s nor in $PATH: run make install, or put both into one folder", Program, self)
	}
	return filepath.Abs(path)
}

// machine is a running mvm-vmm.
type machine struct {
	*talk
	cmd *exec.Cmd
}

// launch starts a mvm-vmm, which waits to be told what to do. It is in a process
// group of its own, so that a terminal's Ctrl-C reaches only mvm, which passes
// it on; and it gets no environment: the user's may hold secrets.
// The container's lock goes with it, and stays held as long as it lives.
func launch(program, dir, id string, lock *os.File, stdio IO) (*machine, error) {
	cmd := exec.Command(program, id)
	cmd.Dir = dir
	cmd.Env = []string{}
	cmd.Stdout, cmd.Stderr = stdio.Stdout, stdio.Stderr
	if stdio.Stdin != nil { // not a nil *os.File in an interface
		cmd.Stdin = stdio.Stdin
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if stdio == (IO{}) {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal's hang-up reaches it
	}
	conn, far, err := control.Pair(cmd)
	if err != nil {
		return nil, err
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, lock)
	// Inherited: mvm-vmm lifts it once its heap is laid out (memory.SmallPages).
	_ = unix.Prctl(unix.PR_SET_THP_DISABLE, 1, 0, 0, 0)
	err = cmd.Start()
	if err := errors.Join(err, far.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", program, err), conn.Close())
	}
	return &machine{talk: newTalk(conn), cmd: cmd}, nil // the talk ends by end
}

// endPatience is how long mvm-vmm may take to give back what it holds, after its
// last word. It takes a few milliseconds.
const endPatience = 5 * time.Second

// end closes the connection, which tells mvm-vmm to end if it still runs, and
// waits until it has: killed if it takes too long, or at once if ctx is done.
func (m *machine) end(ctx context.Context) *os.ProcessState {
	m.close()
	patience, cancel := context.WithTimeout(ctx, endPatience)
	defer cancel()
	defer context.AfterFunc(patience, m.kill)()
	_ = m.cmd.Wait() // its state tells all
	return m.cmd.ProcessState
}

// kill ends mvm-vmm at once; messages end with it.
func (m *machine) kill() { _ = m.cmd.Process.Kill() }
