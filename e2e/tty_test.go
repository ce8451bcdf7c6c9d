package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// ttyPatience bounds each wait for a terminal: an emulated host is slow.
const ttyPatience = 2 * time.Minute

// tty STATUS SCRIPT COMMAND... runs a command on a terminal of its own, of 24 by
// 80 characters, and does what the lines of SCRIPT say. The command has to exit
// with STATUS, and to leave the terminal's modes as they were. Lines are:
//
//	expect "REGEXP"   wait until the terminal shows it, after what was expected before
//	send "TEXT"       type it
//	size ROWS COLS    resize the terminal
//	sh COMMAND        run a command of the shell, which has to succeed
//	hangup            take the terminal away
func tty(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: tty STATUS SCRIPT COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	script := ts.ReadFile(args[1])
	t, err := newTestTerminal()
	ts.Check(err)
	defer t.close()
	before, err := unix.IoctlGetTermios(int(t.slave.Fd()), unix.TCGETS)
	ts.Check(err)
	env := []string{"TERM=xterm"}
	for _, name := range []string{"PATH", "HOME", "MVM_ROOT", "WORK"} {
		env = append(env, name+"="+ts.Getenv(name))
	}
	shell := func(args ...string) *exec.Cmd {
		cmd := exec.Command("sh", args...)
		cmd.Env, cmd.Dir = env, ts.MkAbs(".")
		return cmd
	}
	cmd := shell(append([]string{"-c", `exec "$@"`, "sh"}, args[2:]...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = t.slave, t.slave, t.slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	ts.Check(cmd.Start())
	err = t.play(script, shell)
	if err != nil {
		_ = cmd.Process.Kill()
	}
	status, waitErr := t.wait(cmd)
	ts.Logf("%s", t.text())
	ts.Check(errors.Join(err, waitErr))
	if status != want {
		ts.Fatalf("exit status %d, not %d", status, want)
	}
	if after, err := unix.IoctlGetTermios(int(t.slave.Fd()), unix.TCGETS); err == nil && *after != *before {
		ts.Fatalf("the terminal's modes were %+v, and are %+v", *before, *after)
	}
}

// testTerminal is a terminal that a test sits at.
type testTerminal struct {
	master, slave *os.File

	mu    sync.Mutex
	shown bytes.Buffer
	seen  int           // how much of shown was expected
	more  chan struct{} // something was shown
}

func newTestTerminal() (*testTerminal, error) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	var number uint32
	err = control(master, func(fd int) (err error) {
		if number, err = unix.IoctlGetUint32(fd, unix.TIOCGPTN); err == nil {
			err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(err, master.Close())
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, errors.Join(err, master.Close())
	}
	t := &testTerminal{master: master, slave: slave, more: make(chan struct{}, 1)}
	go t.watch() // ends when the master closes
	return t, t.resize(24, 80)
}

func (t *testTerminal) watch() {
	buf := make([]byte, 4096)
	for {
		n, err := t.master.Read(buf)
		t.mu.Lock()
		t.shown.Write(buf[:n])
		t.mu.Unlock()
		select {
		case t.more <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

// text is all that was shown.
func (t *testTerminal) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return fmt.Sprintf("%q", t.shown.String())
}

func (t *testTerminal) close() {
	t.slave.Close()
	t.master.Close()
}

func (t *testTerminal) resize(rows, cols uint16) error {
	return control(t.master, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
	})
}

// control calls do with the descriptor of a file, which Fd would make one that a
// Read under way keeps from being closed.
func control(f *os.File, do func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var doErr error
	err = raw.Control(func(fd uintptr) { doErr = do(int(fd)) })
	return errors.Join(err, doErr)
}

// play does the lines of a script.
func (t *testTerminal) play(script string, shell func(...string) *exec.Cmd) error {
	lines := bufio.NewScanner(strings.NewReader(script))
	for lines.Scan() {
		verb, arg, _ := strings.Cut(lines.Text(), " ")
		if verb == "" || verb == "#" {
			continue
		}
		if err := t.act(verb, arg, shell); err != nil {
			return fmt.Errorf("%s: %w", lines.Text(), err)
		}
	}
	return nil
}

func (t *testTerminal) act(verb, arg string, shell func(...string) *exec.Cmd) error {
	switch verb {
	case "expect", "send":
		text, err := strconv.Unquote(arg)
		if err != nil {
			return err
		}
		if verb == "expect" {
			return t.expect(text)
		}
		_, err = t.master.WriteString(text)
		return err
	case "size":
		var rows, cols uint16
		if _, err := fmt.Sscan(arg, &rows, &cols); err != nil {
			return err
		}
		return t.resize(rows, cols)
	case "sh":
		out, err := shell("-c", arg).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	case "hangup":
		return t.master.Close()
	}
	return errors.New("no such thing to do")
}

// expect waits until what has been shown since the last time matches.
func (t *testTerminal) expect(pattern string) error {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return err
	}
	patience := time.After(ttyPatience)
	for {
		t.mu.Lock()
		at := re.FindIndex(t.shown.Bytes()[t.seen:])
		if at != nil {
			t.seen += at[1]
		}
		t.mu.Unlock()
		if at != nil {
			return nil
		}
		select {
		case <-t.more:
		case <-patience:
			return errors.New("it is not shown")
		}
	}
}

// wait waits for the end of a command.
func (t *testTerminal) wait(cmd *exec.Cmd) (status int, err error) {
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // ends with the command
	select {
	case err = <-ended:
	case <-time.After(ttyPatience):
		_ = cmd.Process.Kill()
		return 0, errors.New("the command does not end")
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	}
	return 0, err
}
