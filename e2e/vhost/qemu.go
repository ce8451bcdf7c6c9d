package vhost

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const qemuProgram = "qemu-system-x86_64"

// cpuFlags choose a processor with SVM and nested paging; what is taken away
// only keeps QEMU from warning that TCG does not emulate it.
const cpuFlags = "EPYC,+svm,+npt,-rdseed,-sha-ni,-fxsr-opt,-misalignsse,-3dnowprefetch,-osvw,-topoext,-nrip-save,-xsavec"

// arguments are QEMU's. dir is the run's folder, snapshot that of the RAM, which
// is shared with the file only while the snapshot is made. One vCPU: with more,
// QEMU 7.2 loses a vCPU's registers now and then when nested guests run.
func (h *Host) arguments(making bool, dir, snapshot string) []string {
	share := "off"
	if making {
		share = "on"
	}
	args := []string{
		"-M", "q35", "-accel", "tcg", "-cpu", cpuFlags, "-smp", "1", "-m", strconv.Itoa(memoryMiB),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-kernel", h.kernel, "-initrd", h.initramfs,
		"-append", fmt.Sprintf("console=ttyS0 quiet reboot=t panic=-1 mitigations=off tsc=reliable tsc_early_khz=%d no_timer_check", h.tscKHz),
		"-object", fmt.Sprintf("memory-backend-file,id=ram,size=%dM,mem-path=%s/ram,share=%s", memoryMiB, snapshot, share),
		"-machine", "memory-backend=ram",
		"-device", "virtio-serial-pci,max_ports=8",
	}
	for i, name := range []string{"out", "err", "rc"} { // the child's file descriptors 3, 4, 5
		args = append(args, "-chardev", fmt.Sprintf("file,id=%s,path=/proc/self/fd/%d", name, 3+i),
			"-device", fmt.Sprintf("virtserialport,chardev=%s,name=%s", name, name))
	}
	args = append(args,
		"-chardev", "socket,id=ctl,path="+dir+"/ctl,server=on,wait=off", "-device", "virtserialport,chardev=ctl,name=ctl",
		"-qmp", "unix:"+dir+"/qmp,server=on,wait=off",
		"-drive", "file="+dir+"/job,if=none,id=d,format=raw,readonly=on,file.locking=off", "-device", "virtio-blk-pci,drive=d")
	if !making {
		args = append(args, "-incoming", "defer")
	}
	return args
}

// machine is a running QEMU.
type machine struct {
	cmd     *exec.Cmd
	dir     string
	status  bytes.Buffer // what came through port rc
	console *tail
	serial  io.WriteCloser // the console's input
	outputs sync.WaitGroup // of the ports' pipes and the console
}

// start starts QEMU; it dies with this process, and when ctx ends.
func (h *Host) start(ctx context.Context, making bool, job Job) (*machine, error) {
	dir, err := os.MkdirTemp("", "vhost")
	if err != nil {
		return nil, err
	}
	m := &machine{dir: dir, console: newTail()}
	if err := job.pack(ctx, filepath.Join(dir, "job")); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("pack the job: %w", err)
	}
	m.cmd = exec.CommandContext(ctx, qemuProgram, h.arguments(making, dir, h.snapshot)...)
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	m.cmd.Stderr = m.console
	if err := m.launch(job); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return m, nil
}

// launch connects the ports and starts the process. The calling goroutine stays
// on its thread, whose end would be QEMU's (PR_SET_PDEATHSIG).
func (m *machine) launch(job Job) error {
	defer func() {
		for _, f := range m.cmd.ExtraFiles {
			f.Close()
		}
	}()
	for _, w := range []io.Writer{job.Stdout, job.Stderr, &m.status} {
		if err := m.port(w); err != nil {
			return err
		}
	}
	serial, err := m.cmd.StdinPipe()
	if err != nil {
		return err
	}
	m.serial = serial
	console, err := m.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := m.cmd.Start(); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("start %s: %w", qemuProgram, err)
	}
	m.outputs.Go(func() { _, _ = io.Copy(m.console, console) }) // ends with QEMU
	return nil
}

// port makes a pipe that QEMU writes and copies it to w.
func (m *machine) port(w io.Writer) error {
	if w == nil {
		w = io.Discard
	}
	r, p, err := os.Pipe()
	if err != nil {
		return err
	}
	m.cmd.ExtraFiles = append(m.cmd.ExtraFiles, p)
	m.outputs.Go(func() { // ends with QEMU
		defer r.Close()
		_, _ = io.Copy(w, r)
	})
	return nil
}

// wait waits for QEMU's end and gives everything back.
func (m *machine) wait() error {
	defer os.RemoveAll(m.dir)
	defer runtime.UnlockOSThread()
	m.outputs.Wait() // before Wait, which closes the console's pipe
	return m.cmd.Wait()
}

// kill ends QEMU at once.
func (m *machine) kill() {
	_ = m.cmd.Process.Kill() // it may just have ended
	_ = m.wait()
}

// bootTimeout bounds a cold boot of the host, restoreTimeout a restore.
const (
	bootTimeout    = 3 * time.Minute
	restoreTimeout = time.Minute
)

// makeSnapshot boots the host and saves it where it waits for its first job.
func (h *Host) makeSnapshot(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	tmp := *h
	tmp.snapshot += ".new"
	if err := os.MkdirAll(tmp.snapshot, 0o755); err != nil {
		return err
	}
	m, err := tmp.start(ctx, true, Job{})
	if err != nil {
		return err
	}
	defer m.kill()
	// The guest must find its control port connected, or it reads end of file.
	ctl, err := dial(ctx, m.dir+"/ctl")
	if err != nil {
		return err
	}
	defer ctl.Close()
	if err := m.console.await(ctx, "@ready"); err != nil {
		return err
	}
	time.Sleep(500 * time.Millisecond) // the line is printed before the read that waits
	if err := save(ctx, m.dir+"/qmp", tmp.snapshot+"/state"); err != nil {
		return err
	}
	return os.Rename(tmp.snapshot, h.snapshot)
}

// Run restores a machine, runs the job on it, and returns the script's status.
// It is killed when ctx ends; the error then tells the end of its console.
func (h *Host) Run(ctx context.Context, job Job) (status int, err error) {
	m, err := h.start(ctx, false, job)
	if err != nil {
		return 0, err
	}
	err = h.restore(ctx, m)
	if err != nil {
		_ = m.cmd.Process.Kill()
	}
	go nudge(m.serial) // ends with QEMU
	werr := m.wait()
	switch {
	case ctx.Err() != nil:
		return 0, fmt.Errorf("the virtual host's job was stopped: %w; its console ends:\n%s", context.Cause(ctx), m.console)
	case err != nil:
		return 0, fmt.Errorf("restore the virtual host: %w; its console ends:\n%s", err, m.console)
	}
	status, err = strconv.Atoi(strings.TrimSpace(m.status.String()))
	if err != nil {
		return 0, fmt.Errorf("the virtual host ended without the job's status (QEMU: %w); its console ends:\n%s", werr, m.console)
	}
	return status, nil
}

func (h *Host) restore(ctx context.Context, m *machine) error {
	ctx, cancel := context.WithTimeout(ctx, restoreTimeout)
	defer cancel()
	ctl, err := dial(ctx, m.dir+"/ctl")
	if err != nil {
		return err
	}
	defer ctl.Close()
	if err := load(ctx, m.dir+"/qmp", h.snapshot+"/state"); err != nil {
		return err
	}
	_, err = fmt.Fprintf(ctl, "%d\n", time.Now().Unix())
	return err
}

// tail keeps the last lines of a console and lets one wait for a line.
type tail struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every write
	lines   []string
	partial string
}

const tailLines = 30

func newTail() *tail { return &tail{changed: make(chan struct{})} }

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	sc := bufio.NewScanner(strings.NewReader(t.partial + string(p)))
	t.partial = ""
	for sc.Scan() {
		t.lines = append(t.lines, strings.TrimRight(sc.Text(), "\r"))
	}
	if len(p) > 0 && p[len(p)-1] != '\n' && len(t.lines) > 0 {
		t.partial = t.lines[len(t.lines)-1]
		t.lines = t.lines[:len(t.lines)-1]
	}
	t.lines = t.lines[max(0, len(t.lines)-tailLines):]
	close(t.changed)
	t.changed = make(chan struct{})
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(append(t.lines, t.partial), "\n")
}

// await waits for a line that contains text.
func (t *tail) await(ctx context.Context, text string) error {
	for {
		t.mu.Lock()
		changed := t.changed
		t.mu.Unlock()
		if strings.Contains(t.String(), text) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("no %q on the console:\n%s", text, t), context.Cause(ctx))
		}
	}
}
