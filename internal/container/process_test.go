package container

import (
	"os"
	"os/exec"
	"testing"
)

func TestProcess(t *testing.T) {
	p, err := identify(os.Getpid())
	must(t, err)
	if !p.Alive() {
		t.Error("this process is not alive")
	}
	for name, other := range map[string]Process{
		"none":         {},
		"later one":    {PID: p.PID, Start: p.Start + 1, Boot: p.Boot},
		"another boot": {PID: p.PID, Start: p.Start, Boot: "x"},
		"all":          {PID: -1, Start: p.Start, Boot: p.Boot},
	} {
		if other.Alive() {
			t.Errorf("%s is alive", name)
		}
	}
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	must(t, err)
	must(t, cmd.Start())
	child, err := identify(cmd.Process.Pid)
	must(t, err)
	wrong := child
	wrong.Start++
	must(t, wrong.kill())
	if !child.Alive() {
		t.Fatal("another process was killed")
	}
	must(t, child.kill())
	_ = cmd.Wait()
	_ = in.Close()
	if child.Alive() {
		t.Error("a killed process is alive")
	}
	must(t, child.kill())
}

func TestParseStat(t *testing.T) {
	const tail = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20"
	for _, name := range []string{"(cat)", "(a b)", "(a) S 1)", "()"} {
		start, state, err := parseStat([]byte("17 " + name + tail))
		if err != nil || start != 4242 || state != 'S' {
			t.Errorf("%s: %d, %c, %v", name, start, state, err)
		}
	}
	for _, bad := range []string{"", "17", "17 (cat) S 1 2", "17 (cat) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x"} {
		if _, _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
