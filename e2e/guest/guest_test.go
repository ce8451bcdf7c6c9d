package guest

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mvm-project/mvm/guestinit/proto"
)

// idle is a first process that does nothing until it is killed.
func idle() proto.Process {
	p := shell("sleep 100000")
	p.Detach = true
	return p
}

// alive boots a microVM with a container c in which exec works.
func alive(t *testing.T, change func(*proto.Container)) *host {
	t.Helper()
	h := boot(t)
	h.create("c", change)
	h.spawn("c", "first", idle())
	return h
}

func TestContainerLife(t *testing.T) {
	h := boot(t)
	h.create("c", nil)
	out, errs, e := h.run("c", "1", shell(`echo out; echo err >&2; echo $$; exit 7`))
	if out != "out\n1\n" || errs != "err\n" || e.Code != 7 || e.Signal != 0 || e.Rusage.MaxRSS == 0 {
		t.Errorf("out %q, err %q, %+v", out, errs, e)
	}
	// The end of the first process was the container's: its ID is free.
	h.refused(proto.NoContainer, proto.Request{Stats: &proto.Stats{Container: "c"}})
	h.create("c", nil)
	h.refused(proto.Exists, proto.Request{Create: &proto.Create{Container: proto.Container{ID: "c"}}})
	// What could not be started can be tried again.
	e1 := h.refused(proto.NotFound, proto.Request{Spawn: &proto.Spawn{Container: "c", Process: "1", Spec: proto.Process{Args: []string{"nowhere"}}}})
	if e1.Status() != 127 {
		t.Errorf("status %d", e1.Status())
	}
	h.refused(proto.NotExecutable, proto.Request{Spawn: &proto.Spawn{Container: "c", Process: "1", Spec: proto.Process{Args: []string{"/etc/passwd"}}}})
	h.refused(proto.Invalid, proto.Request{Spawn: &proto.Spawn{Container: "c", Process: "1", Spec: proto.Process{Args: []string{"sh"}, User: "nobody-here"}}})
	h.refused(proto.NotExecutable, proto.Request{Spawn: &proto.Spawn{Container: "c", Process: "1", Spec: proto.Process{Args: []string{"sh"}, Cwd: "/etc/passwd"}}})
	// Its working directory is made; signal 9 does nothing to the first of a namespace.
	first := shell("pwd; kill -9 1; exit 3")
	first.Cwd = "/tmp/made"
	if out, _, e := h.run("c", "2", first); out != "/tmp/made\n" || e.Code != 3 {
		t.Errorf("the first process of its namespace: %q, %+v", out, e)
	}
	// One that never ran anything is deleted.
	h.create("d", nil)
	h.ok(proto.Request{Delete: &proto.Delete{Container: "d"}})
	h.refused(proto.NoContainer, proto.Request{Delete: &proto.Delete{Container: "d"}})
}

// A first process may have ended, and been reaped, before its start is noted:
// likely where others want the processor.
func TestShortLife(t *testing.T) {
	h := alive(t, nil)
	for _, id := range []string{"w", "x", "y", "z"} {
		h.spawn("c", id, shell("while :; do :; done"))
	}
	for range 30 {
		h.create("short", nil)
		_, errs, e := h.run("short", "1", proto.Process{Archive: &proto.Archive{Do: proto.Stat, Path: "/"}})
		if errs != "" || e.Code != 0 {
			t.Fatalf("%q, %+v", errs, e)
		}
	}
}

func TestSeveralContainers(t *testing.T) {
	h := boot(t)
	for _, id := range []string{"a", "b"} {
		h.create(id, nil)
		h.spawn(id, "1", idle())
	}
	for _, id := range []string{"a", "b"} {
		out, _, _ := h.run(id, "2", shell(`hostname; echo here >/mark-$(hostname); ls -d /mark-*`))
		if want := id + "\n/mark-" + id + "\n"; out != want {
			t.Errorf("in %s: %q, want %q", id, out, want)
		}
	}
	h.ok(proto.Request{Signal: &proto.Signal{Container: "a", Process: "1", Signo: 9}})
	if e := h.wait("a", "1"); e.Signal != 9 || e.Status() != 137 {
		t.Errorf("%+v", e)
	}
	if out, _, _ := h.run("b", "3", shell("echo on")); out != "on\n" {
		t.Errorf("the other container: %q", out)
	}
}

func TestExec(t *testing.T) {
	h := alive(t, nil)
	// It is in all the namespaces of the first.
	out, _, _ := h.run("c", "x", shell(`for n in mnt pid uts ipc net cgroup; do
		[ "$(readlink /proc/1/ns/$n)" = "$(readlink /proc/self/ns/$n)" ] || echo "another $n"; done; cat /proc/self/cgroup; pwd`))
	if out != "0::/\n/\n" {
		t.Errorf("%q", out)
	}
	p := shell(`id -u; id -g; id -G; echo $HOME $X; pwd; umask; ulimit -n; cut -d' ' -f19 /proc/self/stat; cat /proc/self/oom_score_adj; grep NoNewPrivs /proc/self/status; grep CapBnd /proc/self/status`)
	mask := uint32(0o27)
	p.User, p.Groups, p.Env = "alice", []string{"77"}, append(p.Env, "X=y")
	p.Cwd, p.Umask, p.OOMScoreAdj, p.Nice, p.NoNewPrivs = "/home/alice", &mask, 500, 5, true
	p.Rlimits = []proto.Rlimit{{Name: "nofile", Soft: 99, Hard: 100}}
	p.Capabilities = []string{"CAP_KILL"}
	out, errs, e := h.run("c", "y", p)
	want := "1000\n1000\n1000 50 77\n/home/alice y\n/home/alice\n0027\n99\n5\n500\nNoNewPrivs:\t1\nCapBnd:\t0000000000000020\n"
	if out != want || errs != "" || e.Code != 0 {
		t.Errorf("%q %q %+v, want %q", out, errs, e, want)
	}
	p.Cwd = "/tmp/missing"
	h.refused(proto.NotFound, proto.Request{Spawn: &proto.Spawn{Container: "c", Process: "z", Spec: p}})
	// A background process may outlive its shell, and holds the stream open.
	h.spawn("c", "bg", shell(`sleep 3 & echo $!`))
	stdout := h.stream("c", "bg", proto.Stdout)
	h.line(stdout)
	if e := h.wait("c", "bg"); e.Code != 0 {
		t.Errorf("%+v", e)
	}
	if rest, err := io.ReadAll(stdout); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
	for name, p := range map[string]proto.Process{
		"capability": {Args: []string{"sh"}, Capabilities: []string{"CAP_NONSENSE"}},
		"rlimit":     {Args: []string{"sh"}, Rlimits: []proto.Rlimit{{Name: "nonsense"}}},
		"soft>hard":  {Args: []string{"sh"}, Rlimits: []proto.Rlimit{{Name: "nofile", Soft: 5, Hard: 4}}},
		"oom":        {Args: []string{"sh"}, OOMScoreAdj: 5000},
	} {
		if e := h.refused(proto.Invalid, proto.Request{Spawn: &proto.Spawn{Container: "c", Process: "z", Spec: p}}); e.Text == "" {
			t.Error(name)
		}
	}
	h.refused(proto.NotExecutable, proto.Request{Spawn: &proto.Spawn{
		Container: "c", Process: "z",
		Spec: proto.Process{Args: []string{"/bin/sh", "-c", "true", strings.Repeat("x", 200<<10)}},
	}})
	h.refused(proto.NoContainer, proto.Request{Spawn: &proto.Spawn{Container: "nope", Process: "z", Spec: shell("")}})
	h.refused(proto.Exists, proto.Request{Spawn: &proto.Spawn{Container: "c", Process: "first", Spec: shell("")}})
	h.refused(proto.Invalid, proto.Request{Spawn: &proto.Spawn{Container: "c", Process: "../z", Spec: shell("")}})
}

// No thread of PID 1 stays in a container's namespaces, and keeps its mounts, once
// what it was for has begun; and no file stays open, whether that went well or not.
func TestNothingStays(t *testing.T) {
	h := boot(t)
	h.create("c", func(c *proto.Container) { c.Namespaces = []proto.Namespace{proto.UTSNamespace} })
	h.spawn("c", "first", idle())
	// What PID 1 has, once it is at rest: the mount namespaces it is in, and files.
	held := func() string {
		p := shell(`for i in 1 2 3 4 5 6 7 8 9; do
			now=$(for t in /proc/1/task/*/ns/mnt; do readlink $t; done | sort -u | wc -l; ls /proc/1/fd | wc -l)
			[ "$now" = "$last" ] && break; last=$now; sleep 0.3; done; echo $now`)
		p.AllCapabilities, p.Unconfined = true, true
		out, errs, _ := h.run("c", "look", p)
		if !strings.HasPrefix(out, "1 ") || errs != "" {
			t.Fatalf("PID 1 is in %q mount namespaces, %q", out, errs)
		}
		return out
	}
	before := held()
	wrong := map[proto.Code]proto.Process{
		proto.NotFound:      {Args: []string{"nothing"}, TTY: &proto.Size{Rows: 1, Cols: 1}},
		proto.NotExecutable: {Args: []string{"/etc"}},
		proto.Invalid:       {Args: []string{"true"}, User: "nobody-here", TTY: &proto.Size{Rows: 1, Cols: 1}},
	}
	for range 10 {
		for code, p := range wrong {
			h.refused(code, proto.Request{Spawn: &proto.Spawn{Container: "c", Process: "wrong", Spec: p}})
			p.Init = true
			h.refused(code, proto.Request{Spawn: &proto.Spawn{Container: "c", Process: "wrong", Spec: p}})
		}
		p := shell("true")
		for _, size := range []*proto.Size{nil, {Rows: 1, Cols: 1}} {
			p.TTY = size
			if out, errs, e := h.run("c", "right", p); e.Code != 0 {
				t.Fatalf("%q %q %+v", out, errs, e)
			}
		}
	}
	if after := held(); after != before {
		t.Errorf("PID 1's mount namespaces and files: %q, then %q", before, after)
	}
}

func TestStdin(t *testing.T) {
	h := alive(t, nil)
	p := shell("sha256sum; echo done >&2")
	p.Stdin = true
	h.spawn("c", "x", p)
	in := h.stream("c", "x", proto.Stdin)
	data := bytes.Repeat([]byte("\x00\xff\r\n\x04every byte\x03"), 500_000)
	go func() { // ends with its data
		_, _ = in.Write(data)
		_ = in.(interface{ CloseWrite() error }).CloseWrite()
	}()
	sum := sha256.Sum256(data)
	if out := h.all("c", "x", proto.Stdout); !strings.HasPrefix(out, hex.EncodeToString(sum[:])) {
		t.Errorf("%q, want %s", out, hex.EncodeToString(sum[:]))
	}
	if e := h.wait("c", "x"); e.Code != 0 {
		t.Errorf("%+v", e)
	}
}

func TestTerminal(t *testing.T) {
	h := alive(t, nil)
	p := shell(`tty; stty size; echo $TERM; trap 'stty size' WINCH; echo ready; while :; do read x && echo "<$x>"; [ "$x" = end ] && exit 4; done`)
	p.TTY = &proto.Size{Rows: 33, Cols: 101}
	h.spawn("c", "x", p)
	tty := h.stream("c", "x", proto.TTY)
	expect := func(want string) {
		t.Helper()
		if got := strings.TrimSuffix(h.line(tty), "\r"); !regexp.MustCompile("^(" + want + ")$").MatchString(got) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for _, want := range []string{"/dev/pts/[0-9]+", "33 101", "xterm", "ready"} {
		expect(want)
	}
	h.ok(proto.Request{Resize: &proto.Resize{Container: "c", Process: "x", Size: proto.Size{Rows: 5, Cols: 6}}})
	_, _ = io.WriteString(tty, "h\xc3\xa4\x7fi\n") // ä, erased as one character
	for range 2 {
		if got := h.line(tty); !strings.Contains(got, "5 6") && !strings.Contains(got, "h") {
			t.Errorf("%q", got)
		}
	}
	expect("<hi>|5 6")
	_, _ = io.WriteString(tty, "end\n")
	if rest, err := io.ReadAll(tty); err != nil || !strings.Contains(string(rest), "<end>") {
		t.Errorf("%q, %v", rest, err)
	}
	if e := h.wait("c", "x"); e.Code != 4 {
		t.Errorf("%+v", e)
	}
	// Ctrl-C is the terminal's.
	q := shell("echo ready; sleep 1000")
	q.TTY = &proto.Size{Rows: 24, Cols: 80}
	h.spawn("c", "y", q)
	tty = h.stream("c", "y", proto.TTY)
	expect("ready")
	_, _ = io.WriteString(tty, "\x03")
	if e := h.wait("c", "y"); e.Status() != 130 {
		t.Errorf("%+v", e)
	}
	h.refused(proto.Invalid, proto.Request{Resize: &proto.Resize{Container: "c", Process: "first", Size: proto.Size{}}})
}

func TestSignals(t *testing.T) {
	h := alive(t, nil)
	for _, id := range []string{"x", "y"} {
		h.spawn("c", id, shell(`trap 'echo caught; exit 5' TERM; echo ready; while :; do sleep 0.1; done`))
		h.line(h.stream("c", id, proto.Stdout))
	}
	h.ok(proto.Request{Signal: &proto.Signal{Container: "c", Process: "x", Signo: int(syscall.SIGTERM)}})
	if e := h.wait("c", "x"); e.Code != 5 {
		t.Errorf("%+v", e)
	}
	h.refused(proto.NoProcess, proto.Request{Signal: &proto.Signal{Container: "c", Process: "x", Signo: 15}})
	h.refused(proto.Failed, proto.Request{Signal: &proto.Signal{Container: "c", Process: "y", Signo: 1000}})
	h.ok(proto.Request{Signal: &proto.Signal{Container: "c", Signo: int(syscall.SIGTERM)}}) // to all
	if e := h.wait("c", "y"); e.Code != 5 {
		t.Errorf("%+v", e)
	}
	h.spawn("c", "z", shell(`ulimit -c unlimited; cd /tmp; kill -ABRT $$`))
	if e := h.wait("c", "z"); e.Signal != int(syscall.SIGABRT) || !e.Core {
		t.Errorf("%+v", e)
	}
	h.spawn("c", "last", shell(`sleep 1000`))
	h.ok(proto.Request{Delete: &proto.Delete{Container: "c"}})
	for _, id := range []string{"last", "first"} {
		if e := h.wait("c", id); e.Signal != int(syscall.SIGKILL) {
			t.Errorf("%+v", e)
		}
	}
}

func TestInit(t *testing.T) {
	h := boot(t)
	h.create("c", nil)
	p := shell(`echo $$ $PPID; (sh -c 'sleep 0.2 & exit' ); sleep 1; ls /proc/*/stat | xargs -n1 cat 2>/dev/null | grep -c ' Z ';
		trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.1; done`)
	p.Init, p.User = true, "alice"
	h.spawn("c", "1", p)
	out := h.stream("c", "1", proto.Stdout)
	if ids := h.line(out); !regexp.MustCompile(`^[0-9]+ 1$`).MatchString(ids) || strings.HasPrefix(ids, "1 ") {
		t.Errorf("PID and parent: %q", ids)
	}
	if zombies := h.line(out); zombies != "0" {
		t.Errorf("%s zombies", zombies)
	}
	h.line(out)
	h.ok(proto.Request{Signal: &proto.Signal{Container: "c", Process: "1", Signo: int(syscall.SIGTERM)}})
	if got := h.line(out); got != "caught" {
		t.Errorf("%q", got)
	}
	if e := h.wait("c", "1"); e.Code != 9 {
		t.Errorf("%+v", e)
	}
	h.create("c", nil)
	h.refused(proto.NotFound, proto.Request{Spawn: &proto.Spawn{Container: "c", Process: "1", Spec: proto.Process{Args: []string{"nope"}, Init: true}}})
}

func TestList(t *testing.T) {
	h := alive(t, nil)
	h.spawn("c", "x", shell(`sleep 500 & echo ready; wait`))
	h.line(h.stream("c", "x", proto.Stdout))
	list := func() []proto.ProcessInfo {
		return h.ok(proto.Request{List: &proto.List{Container: "c"}}).Processes.List
	}
	// A process that is only just being executed has no memory yet.
	for deadline := time.Now().Add(patience); list()[0].State != "S" && time.Now().Before(deadline); {
		time.Sleep(100 * time.Millisecond)
	}
	processes := list()
	byCommand := map[string]proto.ProcessInfo{}
	for _, p := range processes {
		byCommand[p.Command] = p
		if age := time.Since(time.Unix(0, p.Started)); age < 0 || age > 10*time.Minute {
			t.Errorf("%s started %v ago", p.Command, age)
		}
	}
	child, parent := byCommand["sleep 500"], byCommand["/bin/sh -c sleep 500 & echo ready; wait"]
	if child.PPID != parent.PID || parent.ID != "x" || child.ID != "" || child.State != "S" || child.Threads != 1 {
		t.Errorf("%+v", processes)
	}
	if first := processes[0]; first.PID != 1 || first.PPID != 0 || first.ID != "first" || first.RSS == 0 {
		t.Errorf("%+v", first)
	}
}

func TestFreezeAndStats(t *testing.T) {
	h := alive(t, nil)
	h.spawn("c", "x", shell("while :; do :; done"))
	usage := func() proto.Usage { return *h.ok(proto.Request{Stats: &proto.Stats{Container: "c"}}).Usage }
	time.Sleep(300 * time.Millisecond)
	h.ok(proto.Request{Freeze: &proto.Freeze{Container: "c"}})
	before := usage()
	time.Sleep(300 * time.Millisecond)
	if after := usage(); after.CPUMicros > before.CPUMicros+20_000 || before.CPUMicros == 0 || after.PIDs < 2 || after.Memory == 0 {
		t.Errorf("frozen: %+v, then %+v", before, after)
	}
	h.refused(proto.Invalid, proto.Request{Spawn: &proto.Spawn{Container: "c", Process: "y", Spec: shell("")}})
	h.ok(proto.Request{Freeze: &proto.Freeze{Container: "c", Thaw: true}})
	time.Sleep(300 * time.Millisecond)
	if after := usage(); after.CPUMicros <= before.CPUMicros {
		t.Errorf("thawed: %+v, then %+v", before, after)
	}
	h.ok(proto.Request{Update: &proto.Update{Container: "c", Limits: proto.Limits{Memory: 64 << 20, PIDs: 50, CPUMicros: 100_000, CPUWeight: 10, Swap: 1 << 20}}})
	if u := usage(); u.MemoryLimit != 64<<20 {
		t.Errorf("%+v", u)
	}
	h.ok(proto.Request{Update: &proto.Update{Container: "c", Limits: proto.Limits{Memory: proto.Unlimited, CPUMicros: proto.Unlimited}}})
	if u := usage(); u.MemoryLimit != 0 {
		t.Errorf("%+v", u)
	}
	for _, l := range []proto.Limits{{CPUWeight: 10_001}, {CPUMicros: 5}, {Memory: -5}, {IO: []proto.IOLimit{{Device: "/dev/null"}}}} {
		h.refused(proto.Invalid, proto.Request{Update: &proto.Update{Container: "c", Limits: l}})
	}
}

// A limit on a disk is the kernel's io.max, at the start and later.
func TestIOLimit(t *testing.T) {
	h := alive(t, func(c *proto.Container) {
		c.Limits.IO = []proto.IOLimit{{Device: "/dev/vda", ReadBytes: 1 << 20, ReadOps: 100}}
	})
	shown := func(id string) string {
		out, stderr, _ := h.run("c", id, shell("cat /sys/fs/cgroup/io.max"))
		_, limits, found := strings.Cut(out, " ") // after MAJOR:MINOR
		if !found {
			t.Errorf("io.max %q, %q", out, stderr)
		}
		return limits
	}
	if got, want := shown("1"), "rbps=1048576 wbps=max riops=100 wiops=max\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	h.ok(proto.Request{Update: &proto.Update{Container: "c", Limits: proto.Limits{
		IO: []proto.IOLimit{{Device: "/dev/vda", ReadBytes: proto.Unlimited, WriteOps: 7}},
	}}})
	if got, want := shown("2"), "rbps=max wbps=max riops=100 wiops=7\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestForkBomb(t *testing.T) {
	h := alive(t, func(c *proto.Container) { c.Limits.PIDs = 20 })
	h.spawn("c", "bomb", proto.Process{Args: []string{"/programs/bomb"}, Detach: true})
	time.Sleep(2 * time.Second)
	u := h.ok(proto.Request{Stats: &proto.Stats{Container: "c"}}).Usage
	if u.PIDs > 20+33 {
		t.Errorf("%d processes under a limit of 20", u.PIDs)
	}
	h.ok(proto.Request{Signal: &proto.Signal{Container: "c", Signo: int(syscall.SIGKILL)}})
	for _, id := range []string{"bomb", "first"} {
		if e := h.wait("c", id); e.Signal != int(syscall.SIGKILL) {
			t.Errorf("%+v", e)
		}
	}
	h.create("c", nil)
	if out, _, _ := h.run("c", "1", shell("echo fine")); out != "fine\n" {
		t.Errorf("after the bomb: %q", out)
	}
}

// No wait status is lost while orphans come by the thousand.
func TestOrphans(t *testing.T) {
	h := boot(t)
	h.create("c", func(c *proto.Container) { c.Namespaces = []proto.Namespace{proto.UTSNamespace, proto.CgroupNamespace} })
	h.spawn("c", "first", idle())
	h.spawn("c", "storm", shell(`i=0; while [ $i -lt 300 ]; do (true & true & exit) ; i=$((i+1)); done; exit 3`))
	for i := range 10 {
		id := string(rune('a' + i))
		h.spawn("c", id, proto.Process{Args: []string{"/bin/sh", "-c", "exit $((0x$0))", id}, Detach: true})
		if e := h.wait("c", id); i < 6 && e.Code != 10+i {
			t.Errorf("%s: %+v", id, e)
		}
	}
	if e := h.wait("c", "storm"); e.Code != 3 {
		t.Errorf("%+v", e)
	}
	h.ok(proto.Request{Delete: &proto.Delete{Container: "c"}})
}

func TestOutOfMemory(t *testing.T) {
	h := boot(t)
	h.create("c", func(c *proto.Container) { c.Limits.Memory = 32 << 20 })
	h.spawn("c", "1", proto.Process{Args: []string{"/programs/eat", "200"}})
	if e := h.wait("c", "1"); e.Status() != 137 || !e.OOMKilled {
		t.Errorf("%+v", e)
	}
	// All of the machine's memory: PID 1 lives.
	h.create("d", nil)
	h.spawn("d", "first", idle())
	h.spawn("d", "eat", proto.Process{Args: []string{"/programs/eat", "2000"}})
	if e := h.wait("d", "eat"); e.Status() != 137 || !e.OOMKilled {
		t.Errorf("%+v", e)
	}
	if o := take(h, "OOM", h.ooms); o.Kills < 1 {
		t.Errorf("%+v", o)
	}
	if out, _, _ := h.run("d", "x", shell("echo fine")); out != "fine\n" {
		t.Errorf("%q", out)
	}
}

func TestSeccomp(t *testing.T) {
	h := alive(t, nil)
	p := shell("unshare -U true; mount -t tmpfs x /tmp; chroot / true && echo chroot; setarch i686 true")
	out, errs, _ := h.run("c", "x", p)
	if out != "chroot\n" || strings.Count(errs, "ermission denied")+strings.Count(errs, "not permitted") < 2 {
		t.Errorf("%q %q", out, errs)
	}
	p = shell("unshare -m true && echo unshared; mount -t tmpfs x /mnt && echo mounted; grep Seccomp: /proc/self/status")
	p.AllCapabilities, p.Unconfined = true, true
	if out, errs, _ := h.run("c", "y", p); out != "unshared\nmounted\nSeccomp:\t0\n" {
		t.Errorf("%q %q", out, errs)
	}
}

func TestNamespaces(t *testing.T) {
	h := boot(t)
	h.create("plain", nil)
	h.spawn("plain", "1", idle())
	base, _, _ := h.run("plain", "ns", shell(`cd /proc/self/ns; for n in net user time; do readlink $n; done`))
	h.create("c", func(c *proto.Container) {
		c.Namespaces = append(proto.DefaultNamespaces(), proto.NetworkNamespace, proto.TimeNamespace, proto.UserNamespace)
		c.Users = []proto.IDMap{{Inside: 0, Outside: 0, Size: 65536}}
		c.Groups = c.Users
	})
	out, errs, e := h.run("c", "1", shell(`cd /proc/self/ns; for n in net user time; do readlink $n; done; cat /proc/self/uid_map >&2; echo x >/new; echo y >/dev/null`))
	if e.Code != 0 || !strings.Contains(errs, "65536") {
		t.Errorf("%q %+v", errs, e)
	}
	a, b := strings.Fields(base), strings.Fields(out)
	if len(a) != 3 || len(b) != 3 {
		t.Fatalf("%q %q", base, out)
	}
	for i := range a {
		if a[i] == b[i] {
			t.Errorf("both have %s", a[i])
		}
	}
}

func TestArchive(t *testing.T) {
	h := alive(t, nil)
	out, _, _ := h.run("c", "mk", shell(`mkdir -p /d/sub; echo one >/d/f; ln /d/f /d/hard; ln -s /d/f /d/soft; chmod 4750 /d/f; chown 7:8 /d/sub; mkfifo /d/fifo; ln -s / /d/evil`))
	if out != "" {
		t.Error(out)
	}
	archive := func(id string, a proto.Archive) (string, string, int) {
		o, e, x := h.run("c", id, proto.Process{Archive: &a})
		return o, e, x.Code
	}
	text, errs, code := archive("pack", proto.Archive{Do: proto.Pack, Path: "/d"})
	if code != 0 || errs != "" {
		t.Fatalf("%d %q", code, errs)
	}
	names := map[string]*tar.Header{}
	for r := tar.NewReader(strings.NewReader(text)); ; {
		f, err := r.Next()
		if err != nil {
			break
		}
		names[f.Name] = f
	}
	if len(names) != 7 || names["d/sub/"].Uid != 7 || names["d/f"].Mode != 0o4750 || names["d/hard"].Linkname != "d/f" || names["d/soft"].Linkname != "/d/f" {
		t.Errorf("%+v", names)
	}
	var st proto.PathStat
	text, _, _ = archive("stat", proto.Archive{Do: proto.Stat, Path: "/d/soft"})
	if err := json.Unmarshal([]byte(text), &st); err != nil || st.Name != "soft" || st.Target != "/d/f" {
		t.Errorf("%q %+v %v", text, st, err)
	}
	if _, errs, code = archive("missing", proto.Archive{Do: proto.Stat, Path: "/nope"}); code != 2 || !strings.Contains(errs, "/nope") {
		t.Errorf("%d %q", code, errs)
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range []tar.Header{
		{Name: "in/", Typeflag: tar.TypeDir, Mode: 0o700, Uid: 5},
		{Name: "in/x", Typeflag: tar.TypeReg, Size: 3, Mode: 0o640, Uid: 5, ModTime: time.Unix(1e9, 0)},
		{Name: "../../up", Typeflag: tar.TypeReg, Size: 3, Mode: 0o600},
	} {
		if err := w.WriteHeader(&f); err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write([]byte("abc")[:f.Size])
	}
	_ = w.Close()
	h.spawn("c", "un", proto.Process{Stdin: true, Archive: &proto.Archive{Do: proto.Unpack, Path: "/d", KeepOwner: true}})
	in := h.stream("c", "un", proto.Stdin)
	_, _ = in.Write(buf.Bytes())
	_ = in.(interface{ CloseWrite() error }).CloseWrite()
	if e := h.all("c", "un", proto.Stderr); e != "" || h.wait("c", "un").Code != 0 {
		t.Errorf("%q", e)
	}
	out, _, _ = h.run("c", "see", shell(`cat /d/in/x /d/up; stat -c ' %u %a %Y' /d/in/x /d/in`))
	if !strings.HasPrefix(out, "abcabc 5 640 1000000000\n 5 700 ") {
		t.Errorf("%q", out)
	}
	// As a container's first and only process too.
	h.create("s", nil)
	h.spawn("s", "1", proto.Process{Archive: &proto.Archive{Do: proto.Stat, Path: "/etc/passwd"}})
	if o := h.all("s", "1", proto.Stdout); !strings.Contains(o, "passwd") || h.wait("s", "1").Code != 0 {
		t.Errorf("%q", o)
	}
}
