package container

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/internal/control"
	"github.com/mvm-project/mvm/internal/ext4"
	"github.com/mvm-project/mvm/internal/folder"
	"github.com/mvm-project/mvm/internal/hostnet"
	"github.com/mvm-project/mvm/internal/network"
	"github.com/mvm-project/mvm/internal/volume"
)

// commandRole is this program's first argument as a command that is to be killed:
// ROOT and the command's name follow.
const commandRole = "command"

// actCommand is a mvm command, with the store in root.
func actCommand(root, name string) {
	s, err := Open(root, &fakeBridges{})
	if err == nil {
		err = killables[name].do(context.Background(), s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(codeFailed)
	}
}

// killable is a command that may be killed at any instruction.
type killable struct {
	needs string // the command that makes what it works on
	boots bool   // a microVM is involved
	stays bool   // it lasts until it is killed
	do    func(ctx context.Context, s *Store) error
}

var killables = map[string]killable{
	"create": {do: func(_ context.Context, s *Store) error {
		_, err := s.Create(wired(s))
		return err
	}},
	"run -d": {boots: true, do: func(ctx context.Context, s *Store) error {
		_, exit, err := s.RunDetached(ctx, program(), wired(s))
		return refused(exit, err)
	}},
	"run": {boots: true, stays: true, do: func(ctx context.Context, s *Store) error {
		_, err := s.Run(ctx, program(), wired(s), IO{})
		return err
	}},
	"run --rm": {boots: true, stays: true, do: func(ctx context.Context, s *Store) error {
		o := wired(s)
		o.Remove = true
		_, err := s.Run(ctx, program(), o, IO{})
		return err
	}},
	"start": {needs: "create", boots: true, do: func(ctx context.Context, s *Store) error {
		exit, err := s.Start(ctx, "box", Boot{Program: program()})
		return refused(exit, err)
	}},
	"exec": {needs: "run -d", boots: true, do: func(ctx context.Context, s *Store) error {
		c, err := s.Find("box")
		if err != nil {
			return err
		}
		_, err = c.Exec(ctx, control.Exec{}, Client{})
		return err
	}},
	"cp": {needs: "create", boots: true, do: func(ctx context.Context, s *Store) error {
		_, leave, err := s.Visit(ctx, "box", Boot{Program: program()})
		if err != nil {
			return err
		}
		return leave()
	}},
	"rename": {needs: "create", do: func(_ context.Context, s *Store) error { return s.Rename("box", "crate") }},
	"rm":     {needs: "create", do: func(ctx context.Context, s *Store) error { return s.Remove(ctx, "box", Removal{}) }},
	"rm -f":  {needs: "run -d", boots: true, do: func(ctx context.Context, s *Store) error { return s.Remove(ctx, "box", Removal{Force: true}) }},
	"prune": {needs: "create", do: func(ctx context.Context, s *Store) error {
		_, _, err := s.Prune(ctx)
		return err
	}},
	"network create": {do: func(_ context.Context, s *Store) error {
		networks, err := s.Networks()
		if err != nil {
			return err
		}
		return networks.Create(network.Network{Name: "net"}, true)
	}},
	"network rm": {needs: "network create", do: func(_ context.Context, s *Store) error { return s.RemoveNetwork("net") }},
	"volume create": {do: func(_ context.Context, s *Store) error {
		volumes, err := s.Volumes()
		if err != nil {
			return err
		}
		return volumes.Create(volume.Volume{Name: "data", Size: ext4.MinSize})
	}},
	"volume rm": {needs: "volume create", do: func(_ context.Context, s *Store) error { return s.RemoveVolume("data") }},
}

// program is mvm-vmm, which wiredStore puts into $PATH.
func program() string {
	path, err := FindVMM()
	if err != nil {
		panic(err)
	}
	return path
}

// refused makes an error of a process that did not start.
func refused(exit control.Exit, err error) error {
	if err == nil && exit.Error != "" {
		return fmt.Errorf("%+v", exit)
	}
	return err
}

// wired is a container that needs both helpers, a lease and a disk.
func wired(s *Store) Options {
	o := Options{
		Name: "box", Image: "test", RootDisk: s.path("disk"), RootFS: "erofs", LayerSize: ext4.MinSize,
		CPUs: oneCPU, Memory: 64 << 20, Kernel: "/kernel", Initrd: "/initrd",
		Network: hostnet.Network{Kind: hostnet.Bridge, Name: network.Default},
		Mounts: []Mount{
			{Type: BindMount, Source: s.path("shared"), Path: "/shared"},
			{Type: VolumeMount, Source: "data", Path: "/data"},
		},
	}
	o.Process.Args = []string{"serve"}
	return o
}

// wiredStore is a store for such containers.
func wiredStore(t *testing.T) *Store {
	t.Helper()
	s, _, _ := bridgedStore(t)
	must(t, os.Mkdir(s.path("shared"), 0o700))
	bin := os.Getenv("PATH")
	must(t, os.Link(filepath.Join(bin, NetProgram), filepath.Join(bin, FoldersProgram)))
	must(t, os.Symlink(self(t), filepath.Join(bin, Program)))
	return s
}

// Whichever command is killed whenever, or a mvm-vmm, mvm-netd or mvm-fsd under it:
// containers are told as they are, all names can be used again, and prune leaves
// nothing.
func TestAnyKilledAtRandom(t *testing.T) {
	s := wiredStore(t)
	rounds := 14
	if testing.Short() {
		rounds = 2
	}
	for name, k := range killables {
		t.Run(name, func(t *testing.T) {
			took := 300 * time.Millisecond // as long as it is not known
			for round := range rounds + 1 {
				if k.needs != "" {
					must(t, killables[k.needs].do(t.Context(), s))
				}
				cmd, ended := startCommand(t, s, name)
				began, victim := time.Now(), "nobody"
				if round > 0 || k.stays {
					time.Sleep(rand.N(took))
					if victim = "mvm"; k.boots {
						victim = []string{"mvm", Program, NetProgram, FoldersProgram}[rand.IntN(4)]
					}
					kill(t, s, victim, cmd)
				}
				if k.stays {
					time.Sleep(rand.N(took))
					kill(t, s, "mvm", cmd)
				}
				<-ended
				reap()
				if round == 0 && !k.stays {
					took = time.Since(began) + 10*time.Millisecond
				}
				checkKilled(t, s)
				if t.Failed() {
					t.Fatalf("round %d: killed %s after up to %v; it said %q", round, victim, took, cmd.Stderr)
				}
			}
		})
	}
}

// reap takes the ends of processes that this one started and left to themselves: mvm
// itself would have ended by now.
func reap() {
	for {
		if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != nil || pid <= 0 {
			return
		}
	}
}

// startCommand starts a command as a process of its own.
func startCommand(t *testing.T, s *Store, name string) (cmd *exec.Cmd, ended chan struct{}) {
	t.Helper()
	cmd = exec.Command(self(t), commandRole, s.root, name)
	cmd.Stderr = &bytes.Buffer{}
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	must(t, cmd.Start())
	ended = make(chan struct{})
	go func() { // ends with the command
		defer close(ended)
		_ = cmd.Wait()
	}()
	return cmd, ended
}

// kill kills the command, or a program that works for one of the store's containers.
func kill(t *testing.T, s *Store, victim string, cmd *exec.Cmd) {
	t.Helper()
	if victim == "mvm" {
		_ = cmd.Process.Kill() // it may have ended
		return
	}
	locks, err := filepath.Glob("/proc/[0-9]*/fd/[45]") // of helpers and mvm-vmm
	must(t, err)
	for _, lock := range locks {
		path, err := os.Readlink(lock)
		if err != nil || !strings.HasPrefix(path, s.path(containersDir)) {
			continue
		}
		proc := filepath.Dir(filepath.Dir(lock))
		pid, err := strconv.Atoi(filepath.Base(proc))
		must(t, err)
		p, err := identify(pid)
		if name, _ := os.ReadFile(filepath.Join(proc, "comm")); err != nil || strings.TrimSpace(string(name)) != victim {
			continue
		}
		must(t, p.kill())
	}
}

// checkKilled checks what there is against what is told of it, uses all names again,
// and leaves the store empty.
func checkKilled(t *testing.T, s *Store) {
	t.Helper()
	awaitUnfinished(t, s)
	must(t, s.Sweep())
	list, err := s.List()
	must(t, err)
	for _, c := range list {
		checkTruth(t, s, c)
		if c.Name == "box" {
			must(t, s.Rename(c.ID, "crate")) // again, perhaps
		}
		must(t, s.Remove(t.Context(), c.ID, Removal{Force: true}))
	}
	for _, name := range []string{"network create", "volume create"} {
		_ = killables[name].do(t.Context(), s) // it may be there
	}
	must(t, killables["create"].do(t.Context(), s))
	must(t, killables["rename"].do(t.Context(), s))
	if len(list) == 0 { // else one of them was started
		must(t, killables["run -d"].do(t.Context(), s))
		must(t, s.Remove(t.Context(), "box", Removal{Force: true}))
	}
	_, _, err = s.Prune(t.Context())
	must(t, err)
	for _, name := range []string{"network rm", "volume rm"} {
		must(t, killables[name].do(t.Context(), s))
	}
	checkLeft(t, s, "")
	must(t, filepath.WalkDir(s.root, func(path string, _ fs.DirEntry, err error) error {
		if base := filepath.Base(path); strings.HasPrefix(base, folder.Unstable) || filepath.Base(filepath.Dir(path)) == "leases" {
			t.Errorf("%s is left", path)
		}
		return err
	}))
}

// awaitUnfinished waits for each mvm-vmm whose command was killed before it said what it
// is to be: it has the name until it ends, and is told of by nobody.
func awaitUnfinished(t *testing.T, s *Store) {
	t.Helper()
	folders, err := os.ReadDir(s.path(containersDir))
	must(t, err)
	for _, f := range folders {
		dir := s.path(containersDir, f.Name())
		if exists(filepath.Join(dir, configFile)) {
			continue
		}
		if lock, err := waitLock(t.Context(), dir); !errors.Is(err, fs.ErrNotExist) {
			must(t, err)
			must(t, lock.Close())
		}
	}
}

// checkTruth checks that a container that is said to run does, and that another can be
// started.
func checkTruth(t *testing.T, s *Store, c Container) {
	t.Helper()
	if id, err := s.find(c.Name); err != nil || id != c.ID {
		t.Errorf("its name %s means %s, %v; want %s", c.Name, id, err, c.ID)
	}
	for c.Up() { // until it answers, or is told to be down
		if exit, err := c.Exec(t.Context(), control.Exec{}, Client{}); err == nil && exit == (control.Exit{}) {
			return
		}
		var err error
		c, err = s.Find(c.ID)
		must(t, err)
	}
	if c.Status != Created && c.Status != Lost {
		t.Errorf("it is %s", c.Status)
	}
	exit, err := s.Start(t.Context(), c.ID, Boot{Program: program()})
	must(t, refused(exit, err))
}
