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
func FindVMM() (string, error) { return findProgram(Program) }

func findProgram(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(self), name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	path, err = exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is neither beside %s nor in $PATH: run make install, or put both into one folder", name, self)
	}
	return filepath.Abs(path)
}

// machine is a running mvm-vmm.
type machine struct {
	*talk
	cmd     *exec.Cmd
	helpers []*exec.Cmd // mvm-netd and mvm-fsd, as far as it needs them
	plug    *plug
}

// launch starts a mvm-vmm, which waits to be told what to do. It is in a process
// group of its own, so that a terminal's Ctrl-C reaches only mvm, which passes
// it on; and it gets no environment: the user's may hold secrets.
// The container's lock goes with it, and stays held as long as it lives. What is
// plugged in is launch's from here on.
func launch(program, dir, id string, lock *os.File, stdio IO, p *plug, mounts []Mount) (m *machine, err error) {
	defer func() {
		p.close()
		if err != nil {
			p.leave()
		}
	}()
	cmd := exec.Command(program, id)
	cmd.Dir = dir
	// What its heap grows by later is not to be of huge pages either.
	cmd.Env = []string{"GODEBUG=disablethp=1"}
	cmd.Stdout, cmd.Stderr = stdio.Stdout, stdio.Stderr
	if stdio.Stdin != nil { // not a nil *os.File in an interface
		cmd.Stdin = stdio.Stdin
	}
	cmd.SysProcAttr = apart(stdio)
	conn, far, err := control.Pair(cmd)
	if err != nil {
		return nil, err
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, lock)
	helpers, ends, err := startHelpers(p, mounts, dir, lock, stdio)
	defer closeFiles(ends)
	if err != nil {
		return nil, errors.Join(err, far.Close(), conn.Close())
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, ends...)
	// Inherited: mvm-vmm lifts it once its heap is laid out (memory.SmallPages).
	_ = unix.Prctl(unix.PR_SET_THP_DISABLE, 1, 0, 0, 0)
	err = cmd.Start()
	if err := errors.Join(err, far.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", program, err), conn.Close()) // which ends the helpers too
	}
	return &machine{talk: newTalk(conn), cmd: cmd, helpers: helpers, plug: p}, nil // the talk ends by end
}

// apart keeps a process from the signals of mvm's terminal: in a process group of
// its own; in a session of its own, where no hang-up reaches it either, if it has
// none of mvm's standard files.
func apart(stdio IO) *syscall.SysProcAttr {
	if stdio == (IO{}) {
		return &syscall.SysProcAttr{Setsid: true}
	}
	return &syscall.SysProcAttr{Setpgid: true}
}

// endPatience is how long mvm-vmm may take to give back what it holds, after its
// last word. It takes a few milliseconds.
const endPatience = 5 * time.Second

// end closes the connection, which tells mvm-vmm to end if it still runs, and
// waits until it has: killed if it takes too long, or at once if ctx is done. Then
// the container is off its network.
func (m *machine) end(ctx context.Context) *os.ProcessState {
	defer m.plug.leave()
	m.close()
	patience, cancel := context.WithTimeout(ctx, endPatience)
	defer cancel()
	defer context.AfterFunc(patience, m.kill)()
	_ = m.cmd.Wait() // its state tells all
	for _, helper := range m.helpers {
		defer context.AfterFunc(patience, func() { _ = helper.Process.Kill() })()
		_ = helper.Wait() // it ends with the other end of its link
	}
	return m.cmd.ProcessState
}

// release lets mvm-vmm, and its helpers, go on without this process.
func (m *machine) release() error {
	m.close()
	for _, helper := range m.helpers {
		_ = helper.Process.Release() // never fails here
	}
	return m.cmd.Process.Release()
}

// kill ends mvm-vmm at once; messages end with it.
func (m *machine) kill() { _ = m.cmd.Process.Kill() }
