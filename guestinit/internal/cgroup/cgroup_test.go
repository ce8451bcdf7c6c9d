package cgroup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mvm-project/mvm/guestinit/proto"
)

// group is a folder with the files of a group, which keep what is written.
func group(t *testing.T, files map[string]string) Group {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Open(dir)
}

func TestLimit(t *testing.T) {
	g := group(t, map[string]string{"cpu.max": "", "cpu.weight": "", "cpuset.cpus": "", "memory.max": "", "pids.max": ""})
	// memory.swap.max is not there: a kernel without swap.
	err := g.Limit(proto.Limits{CPUMicros: 1_500_000, CPUWeight: 10, CPUSet: "0-1", Memory: 1 << 20, Swap: 5, PIDs: proto.Unlimited})
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"cpu.max": "150000 100000", "cpu.weight": "10", "cpuset.cpus": "0-1", "memory.max": "1048576", "pids.max": "max",
	} {
		if got, err := g.read(file); got != want || err != nil {
			t.Errorf("%s: %q, %v", file, got, err)
		}
	}
	if err := g.Limit(proto.Limits{IO: []proto.IOLimit{{Device: "/dev/null"}}}); err == nil || !strings.Contains(err.Error(), "/dev/null") {
		t.Errorf("%v", err)
	}
	for _, l := range []proto.Limits{
		{CPUMicros: 9_999}, {CPUMicros: -2}, {CPUWeight: -1}, {CPUWeight: 10_001}, {Memory: -2}, {PIDs: -2}, {Swap: -2},
	} {
		l.CPUSet = "5" // comes before, and must not have been set
		if err := g.Limit(l); proto.ErrorOf(err).Code != proto.Invalid {
			t.Errorf("%+v: %v", l, err)
		}
	}
	if got, _ := g.read("cpuset.cpus"); got != "0-1" {
		t.Errorf("a refused change set %q", got)
	}
}

func TestUsage(t *testing.T) {
	g := group(t, map[string]string{
		"cpu.stat":       "usage_usec 30\nuser_usec 20\nsystem_usec 10\nthrottled_usec 5\n",
		"memory.current": "4096\n", "memory.max": "max\n", "memory.stat": "anon 1\nfile 2048\n",
		"memory.events": "low 0\noom 3\noom_kill 2\n", "pids.current": "7\n",
		"io.stat": "4000:77 rbytes=10 wbytes=20 rios=3 wios=4 dbytes=0 dios=0\n7:0\n",
	})
	got, err := g.Usage()
	want := proto.Usage{
		CPUMicros: 30, UserMicros: 20, SystemMicros: 10, ThrottledMicros: 5, Memory: 4096, MemoryFile: 2048,
		PIDs: 7, OOMKills: 2, IO: []proto.IOUsage{{Device: "4000:77", ReadBytes: 10, WriteBytes: 20, ReadOps: 3, WriteOps: 4}},
	}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v\n%s", err, cmp.Diff(want, got))
	}
}

func TestPIDs(t *testing.T) {
	g := group(t, map[string]string{"cgroup.procs": "12\n0\n7\n"})
	if got, err := g.PIDs(); err != nil || !cmp.Equal(got, []int{12, 7}) {
		t.Errorf("%v %v", got, err)
	}
	if _, err := group(t, map[string]string{"cgroup.procs": "x\n"}).PIDs(); err == nil {
		t.Error("no numbers")
	}
}

func TestRemove(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "g/inner/most"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Open(filepath.Join(dir, "g")).Remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "g")); !os.IsNotExist(err) {
		t.Error(err)
	}
}
