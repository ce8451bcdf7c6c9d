package procs

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const line = "1234 (a) b (c)) Z 7 1234 1234 34816 1234 4194304 100 0 0 0 150 50 0 0 20 -5 3 0 500 1000000 25 18446744073709551615 1 1"
	p, name, err := parseStat([]byte(line))
	if err != nil || name != "a) b (c)" || p.State != "Z" || p.PPID != 7 || p.TTY != 34816 || p.Nice != -5 ||
		p.Threads != 3 || p.CPUMicros != 2_000_000 || p.RSS != 25*int64(os.Getpagesize()) || p.Started != 5e9 {
		t.Errorf("%+v %q %v", p, name, err)
	}
	for _, bad := range []string{"", "1 sh S 1", "1 (sh) S 1", "1 )sh( S", strings.Replace(line, "7", "x", 1)} {
		if _, _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q", bad)
		}
	}
}

func TestCommand(t *testing.T) {
	for in, want := range map[string]string{
		"": "[kthread]", "a\x00b c\x00": "a b c", "\x00\x00": "[kthread]", "\xff\x00": "?",
		strings.Repeat("x", 5000): strings.Repeat("x", maxCommand),
	} {
		if got := command([]byte(in), "kthread"); got != want {
			t.Errorf("%.20q: %.20q", in, got)
		}
	}
}

// Real processes, of this machine.
func TestList(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	up, now := uptime(t), time.Now()
	list := Proc{"/proc", now.Add(-up).UnixNano()}.List([]int{os.Getpid(), cmd.Process.Pid, 1 << 30})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 {
		t.Fatalf("%+v", list)
	}
	me, child := list[0], list[1]
	if me.PPID != 0 || child.PPID != me.PID || child.VMPID != cmd.Process.Pid || !strings.Contains(child.Command, "sleep") || me.RSS == 0 || me.Threads < 2 {
		t.Errorf("%+v", list)
	}
	if age := now.Sub(time.Unix(0, child.Started)).Abs(); age > 5*time.Second {
		t.Errorf("started %v ago", age)
	}
	for { // until the signal has got there; the test's time limit ends it
		z := Proc{Dir: "/proc"}.List([]int{cmd.Process.Pid})
		if len(z) == 1 && z[0].State == "Z" && z[0].Command == "[sleep]" {
			break
		}
		time.Sleep(time.Millisecond)
	}
	_ = cmd.Wait()
}

func uptime(t *testing.T) time.Duration {
	t.Helper()
	text, err := os.ReadFile("/proc/uptime")
	if err != nil {
		t.Fatal(err)
	}
	d, err := time.ParseDuration(strings.Fields(string(text))[0] + "s")
	if err != nil {
		t.Fatal(err)
	}
	return d
}
