package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/internal/hostfs"
	"github.com/mvm-project/mvm/internal/ninep"
	"github.com/mvm-project/mvm/internal/sidecar"
)

// Environments that make this test binary mvm-fsd itself, or have it look about once
// it is confined to the folder that the value names.
const (
	asFsd   = "MVM_TEST_FSD"
	asProbe = "MVM_TEST_FSD_PROBE"
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(asFsd) != "":
		main()
	case os.Getenv(asProbe) != "":
		probe(os.Getenv(asProbe))
	default:
		os.Exit(m.Run())
	}
}

// fsd is a running mvm-fsd.
type fsd struct {
	cmd    *exec.Cmd
	dir    string // where it works
	link   *os.File
	ready  *json.Decoder
	stderr strings.Builder
}

func start(t *testing.T, order string, folders ...string) *fsd {
	t.Helper()
	far, link, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	word, told, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	f := &fsd{cmd: exec.Command(os.Args[0]), dir: t.TempDir(), link: link, ready: json.NewDecoder(word)}
	f.cmd.Dir = f.dir
	f.cmd.Env = []string{asFsd + "=1"}
	f.cmd.Stdin, f.cmd.Stderr = strings.NewReader(order), &f.stderr
	f.cmd.ExtraFiles = []*os.File{far, told, nil}
	for _, path := range folders {
		shared, _, err := hostfs.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer shared.Close()
		f.cmd.ExtraFiles = append(f.cmd.ExtraFiles, shared)
	}
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	far.Close()
	told.Close()
	t.Cleanup(func() {
		_ = f.cmd.Process.Kill() // most often it has ended
		_ = f.cmd.Wait()
		link.Close()
		word.Close()
	})
	return f
}

// status is what /proc says of a process in one line.
func status(t *testing.T, pid int, field string) string {
	t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "\n"+field+":")
	line, _, _ := strings.Cut(after, "\n")
	return strings.Join(strings.Fields(line), " ")
}

// TestLife: it serves its folders with the rights it needs, takes the place of one
// that was killed, and ends when nobody is at the other end of its link.
func TestLife(t *testing.T) {
	f := start(t, `{"Socket":"sock","Folders":[{}]}`, t.TempDir())
	if err := os.WriteFile(filepath.Join(f.dir, "sock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var r sidecar.Word
	if err := f.ready.Decode(&r); err != nil || r.Error != "" {
		t.Fatalf("%+v, %v", r, err)
	}
	pid := f.cmd.Process.Pid
	// CHOWN, DAC_OVERRIDE, FOWNER, FSETID
	for field, want := range map[string]string{"CapEff": "000000000000001b", "CapPrm": "000000000000001b", "NoNewPrivs": "1", "Seccomp": "2", "Umask": "0000"} {
		if got := status(t, pid, field); got != want {
			t.Errorf("%s is %q, not %q (as root)", field, got, want)
		}
	}
	tasks, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		tid, _ := strconv.Atoi(task.Name())
		if got := status(t, tid, "CapEff"); got != "000000000000001b" {
			t.Errorf("a thread has %s", got)
		}
	}
	conn, err := net.Dial("unix", filepath.Join(f.dir, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("\x15\x00\x00\x00\x64\xff\xff\x00\x20\x00\x00\x08\x009P2000.L")); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 21)
	if _, err := io.ReadFull(conn, answer); err != nil || answer[4] != 101 || binary.LittleEndian.Uint32(answer[7:]) != 8192 {
		t.Errorf("%q, %v", answer, err)
	}
	f.link.Close()
	if err := f.ready.Decode(&r); !errors.Is(err, io.EOF) {
		t.Errorf("it goes on without a link: %v", err)
	}
	if err := f.cmd.Wait(); err != nil || f.stderr.Len() > 0 {
		t.Errorf("%v: it said %q", err, f.stderr.String())
	}
}

// TestOrders: what it cannot be is told.
func TestOrders(t *testing.T) {
	for _, text := range []string{"", "{", `{"Socket":"sock"}`, `{"Socket":"no/such/folder","Folders":[{}]}`} {
		f := start(t, text, t.TempDir())
		var r sidecar.Word
		if err := f.ready.Decode(&r); err != nil || r.Error == "" {
			t.Errorf("%q: %+v, %v", text, r, err)
		}
	}
}

// probe is confined to a folder, and prints what it cannot do.
func probe(dir string) {
	folder, _, err := hostfs.Open(filepath.Join(dir, "shared"))
	if err != nil {
		panic(err)
	}
	only, _, err := hostfs.Open(filepath.Join(dir, "read"))
	if err != nil {
		panic(err)
	}
	if err := confine([]ninep.Share{{FD: int(folder.Fd())}, {FD: int(only.Fd()), ReadOnly: true}}); err != nil {
		panic(err)
	}
	for name, try := range map[string]func() error{
		"read outside":  func() error { return tryOpen(filepath.Join(dir, "secret"), os.O_RDONLY) },
		"write outside": func() error { return tryOpen(filepath.Join(dir, "new"), os.O_WRONLY|os.O_CREATE) },
		"list /":        func() error { _, err := os.ReadDir("/"); return err },
		"write read":    func() error { return tryOpen(filepath.Join(dir, "read", "file"), os.O_WRONLY) },
		"device":        func() error { return unix.Mknod(filepath.Join(dir, "shared", "null"), unix.S_IFCHR|0o666, 0x103) },
		"connect":       func() error { c, err := net.Dial("tcp", "127.0.0.1:9"); closeIf(c); return denied(err) },
		"link out":      func() error { return os.Link(filepath.Join(dir, "secret"), filepath.Join(dir, "shared", "l")) },
		"run":           func() error { return exec.Command(filepath.Join(dir, "shared", "program")).Run() },
	} {
		if try() != nil {
			fmt.Println("no", name)
		}
	}
	for name, try := range map[string]func() error{
		"write": func() error { return tryOpen(filepath.Join(dir, "shared", "program"), os.O_RDWR|os.O_APPEND) },
		"read":  func() error { return tryOpen(filepath.Join(dir, "read", "file"), os.O_RDONLY) },
		"rename": func() error {
			return os.Rename(filepath.Join(dir, "shared", "file"), filepath.Join(dir, "shared", "sub", "file"))
		},
		"chown": func() error { return os.Chown(filepath.Join(dir, "shared", "program"), 1000, 1000) },
	} {
		if err := try(); err == nil {
			fmt.Println("yes", name)
		}
	}
}

func tryOpen(path string, flags int) error {
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

func closeIf(c net.Conn) {
	if c != nil {
		c.Close()
	}
}

// denied is only what Landlock says.
func denied(err error) error {
	if errors.Is(err, unix.EACCES) {
		return err
	}
	return nil
}

// TestConfined: what is left is the folder, though its owner is root.
func TestConfined(t *testing.T) {
	dir := t.TempDir()
	for _, folder := range []string{"shared/sub", "read"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"secret", "shared/file", "read/file"} {
		if err := os.WriteFile(filepath.Join(dir, file), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "shared/program"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{asProbe + "=" + dir}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"no read outside", "no write outside", "no list /", "no write read", "no device", "no connect", "no link out", "no run",
		"yes write", "yes read", "yes rename", "yes chown",
	} {
		if !strings.Contains(string(out), want+"\n") {
			t.Errorf("%s is missing in:\n%s", want, out)
		}
	}
}
