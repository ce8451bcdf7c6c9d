package main

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/internal/hostnet"
	"github.com/mvm-project/mvm/internal/sidecar"
)

// asNetd makes this test binary mvm-netd itself.
const asNetd = "MVM_TEST_NETD"

func TestMain(m *testing.M) {
	if os.Getenv(asNetd) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// martian is a packet to 127.0.0.1, of which netstack has something to say.
const martian = "\x02mvmgw\x02guest\x08\x00\x45\x00\x00\x14\x00\x00\x00\x00\x40\xfe\x00\x00\xc0\xa8\x7f\x02\x7f\x00\x00\x01"

// netd is a running mvm-netd.
type netd struct {
	cmd    *exec.Cmd
	link   *os.File
	word   *os.File // what ready decodes
	ready  *json.Decoder
	stderr strings.Builder
}

func start(t testing.TB, order string) *netd {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	far := os.NewFile(uintptr(fds[1]), "link")
	word, told, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{asNetd + "=1"}
	n := &netd{cmd: cmd}
	cmd.Stdin, cmd.Stderr = strings.NewReader(order), &n.stderr
	cmd.ExtraFiles = []*os.File{far, told}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	far.Close()
	told.Close()
	n.link, n.word, n.ready = os.NewFile(uintptr(fds[0]), "link"), word, json.NewDecoder(word)
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // most often it has ended
		_ = cmd.Wait()
		n.link.Close()
		word.Close()
	})
	return n
}

// order is a network that publishes a port of the loopback.
func order(t *testing.T, port int) string {
	t.Helper()
	n := hostnet.DefaultUser()
	p, err := hostnet.ParsePort("127.0.0.1:" + strconv.Itoa(port) + ":80")
	if err != nil {
		t.Fatal(err)
	}
	n.Ports = []hostnet.Port{p}
	text, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
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

// TestLife: it opens its ports, gives up its rights, and ends when nobody is at the
// other end of its link.
func TestLife(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	taken := start(t, order(t, port))
	var r sidecar.Word
	if err := taken.ready.Decode(&r); err != nil || !strings.Contains(r.Error, "it is in use") {
		t.Errorf("%+v, %v", r, err)
	}
	var exit *exec.ExitError
	if err := taken.cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != sidecar.StatusFailed {
		t.Errorf("a port that is in use: %v", err)
	}
	_ = ln.Close()

	n := start(t, order(t, port))
	r = sidecar.Word{}
	if err := n.ready.Decode(&r); err != nil || r.Error != "" {
		t.Fatalf("%+v, %v", r, err)
	}
	pid := n.cmd.Process.Pid
	for field, want := range map[string]string{"Uid": "65534 65534 65534 65534", "Groups": "", "CapEff": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2"} {
		if got := status(t, pid, field); got != want {
			t.Errorf("%s is %q, not %q (as root)", field, got, want)
		}
	}
	if _, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port)); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("its port is free: %v", err)
	}
	if _, err := n.link.WriteString(martian); err != nil {
		t.Error(err)
	}
	n.link.Close()
	if err := n.ready.Decode(&r); !errors.Is(err, io.EOF) {
		t.Errorf("it goes on without a link: %v", err)
	}
	if err := n.cmd.Wait(); err != nil || n.stderr.Len() > 0 {
		t.Errorf("%v: it said %q", err, n.stderr.String())
	}
}

// TestStays: clients, and the collections of garbage that they bring, do not end
// what tells mvm-vmm that it lives.
func TestStays(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	_ = ln.Close()
	n := start(t, order(t, port))
	var r sidecar.Word
	if err := n.ready.Decode(&r); err != nil || r.Error != "" {
		t.Fatalf("%+v, %v", r, err)
	}
	for range 1000 { // some kilobytes of garbage each, of a process that keeps few
		c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
	if err := n.word.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := n.word.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("its word ended: %v", err)
	}
}

// TestOrders: what it cannot be is told.
func TestOrders(t *testing.T) {
	for _, text := range []string{"", "{", `{"Kind":"none"}`, `{"Addr":5}`} {
		n := start(t, text)
		var r sidecar.Word
		if err := n.ready.Decode(&r); err != nil || r.Error == "" {
			t.Errorf("%q: %+v, %v", text, r, err)
		}
	}
}

// BenchmarkReady is how long it takes from the start to its word, and to its end.
func BenchmarkReady(b *testing.B) {
	text, err := json.Marshal(hostnet.DefaultUser())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		n := start(b, string(text))
		var r sidecar.Word
		if err := n.ready.Decode(&r); err != nil || r.Error != "" {
			b.Fatal(r, err)
		}
		n.link.Close()
		_ = n.cmd.Wait()
	}
}
