package images

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// start runs a command on a store in a process of its own.
func start(t *testing.T, args string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "MVM_TEST_CHILD="+args)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// Processes that work on one store and are killed at any instruction leave it
// sound, and do not keep the next ones from their work.
func TestKilled(t *testing.T) {
	srv, s := newFaulty(t), newStore(t)
	shared := gzipLayer(t, reg("shared", noise(1, 1<<20)))
	refs := map[string]v1.Image{
		"a:1": image(t, shared, gzipLayer(t, reg("a", noise(2, 1<<20)), dir("d"))),
		"b:1": image(t, shared, gzipLayer(t, reg("b", noise(3, 1<<20)), reg("shared", "b"))),
	}
	want := map[string][]byte{}
	for name, img := range refs {
		ref := push(t, srv.URL, name, img)
		want[ref] = diskOf(t, mustPull(t, newStore(t), ref))
	}
	a, b := host(srv)+"/a:1", host(srv)+"/b:1"
	tar := filepath.Join(t.TempDir(), "a.tar")
	other := newStore(t)
	mustPull(t, other, a)
	if err := os.WriteFile(tar, save(t, other, a), 0o600); err != nil {
		t.Fatal(err)
	}

	const rounds = 60
	verbs := []string{"pull %s " + a, "pull %s " + b, "load %s " + tar, "remove %s " + a, "remove %s " + b, "prune %s"}
	// Kills are spread over the time that work takes here.
	begin := time.Now()
	if err := start(t, fmt.Sprintf(verbs[0], newStore(t).dir)).Wait(); err != nil {
		t.Fatal(err)
	}
	span := time.Since(begin) * 2 / 3
	r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	killed := 0
	for range rounds {
		cmds := []*exec.Cmd{start(t, fmt.Sprintf(verbs[r.IntN(len(verbs))], s.dir)), start(t, fmt.Sprintf(verbs[r.IntN(3)], s.dir))}
		for _, cmd := range cmds {
			time.Sleep(time.Duration(r.Int64N(int64(span))))
			_ = cmd.Process.Kill()
		}
		for _, cmd := range cmds {
			_ = cmd.Wait()
			if st, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && st.Signaled() {
				killed++
			}
		}
		sound(t, s)
		if t.Failed() {
			return
		}
	}
	t.Logf("%d of %d processes were killed at work", killed, 2*rounds)
	for ref, disk := range want {
		if got := diskOf(t, mustPull(t, s, ref)); !bytes.Equal(got, disk) {
			t.Errorf("%s: the disk differs", ref)
		}
	}
	for _, ref := range []string{a, b} {
		if err := s.Remove(ref); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Prune(true); err != nil {
		t.Fatal(err)
	}
	bare(t, s)
}
