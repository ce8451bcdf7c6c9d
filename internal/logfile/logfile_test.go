package logfile

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func create(t *testing.T, path string, l Limits) *Writer {
	t.Helper()
	w, err := Create(path, l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func printed(t *testing.T, path string, o Options) (stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	if e := Print(t.Context(), path, o, &out, &err); e != nil {
		t.Fatal(e)
	}
	return out.String(), err.String()
}

func TestPrint(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := create(t, path, DefaultLimits())
	w.Write(Stdout, []byte("one\ntw"))
	w.Write(Stderr, []byte("oops\n"))
	w.Write(Stdout, []byte("o\nthree"))
	for _, tt := range []struct {
		o        Options
		out, err string
	}{
		{Options{Tail: -1}, "one\ntwo\nthree", "oops\n"},
		{Options{Tail: 100}, "one\ntwo\nthree", "oops\n"},
		{Options{Tail: 1}, "three", ""},
		{Options{Tail: 0}, "", ""},
		{Options{Tail: -1, Since: time.Now().Add(time.Hour)}, "", ""},
		{Options{Tail: -1, Until: time.Now().Add(-time.Hour)}, "", ""},
		{Options{Tail: -1, Since: time.Now().Add(-time.Hour), Until: time.Now().Add(time.Hour)}, "one\ntwo\nthree", "oops\n"},
	} {
		if out, err := printed(t, path, tt.o); out != tt.out || err != tt.err {
			t.Errorf("%+v: %q, %q; want %q, %q", tt.o, out, err, tt.out, tt.err)
		}
	}
	out, _ := printed(t, path, Options{Tail: -1, Timestamps: true})
	lines := strings.Split(out, "\n")
	if len(lines) != 3 {
		t.Fatalf("%q", out)
	}
	for i, want := range []string{"one", "two", "three"} {
		stamp, text, _ := strings.Cut(lines[i], " ")
		if _, err := time.Parse(time.RFC3339Nano, stamp); err != nil || text != want {
			t.Errorf("line %q; want a time and %s", lines[i], want)
		}
	}
}

// Whatever is written comes out again, byte for byte, with the oldest left out
// when there is too much of it, and in bounded space.
func TestRotation(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "log")
		l := Limits{MaxSize: MinSize, MaxFiles: rapid.IntRange(1, 3).Draw(rt, "files")}
		var all []byte
		for _, n := range rapid.SliceOfN(rapid.IntRange(1, 150_000), 1, 8).Draw(rt, "sizes") {
			w := create(t, path, l) // as after a restart
			p := bytes.Repeat([]byte{byte('a' + n%26)}, n)
			w.Write(Stdout, p)
			all = append(all, p...)
			_ = w.Close()
		}
		out, _ := printed(t, path, Options{Tail: -1})
		if !strings.HasSuffix(string(all), out) || len(out) < min(len(all), (l.MaxFiles-1)*MaxData/2) {
			rt.Errorf("%d bytes were read of %d", len(out), len(all))
		}
		files, err := os.ReadDir(dir)
		if err != nil || len(files) > l.MaxFiles {
			rt.Errorf("%d files, %v", len(files), err)
		}
		for _, f := range files {
			if fi, err := f.Info(); err != nil || fi.Size() > l.MaxSize {
				rt.Errorf("%v: %d bytes, %v", f, fi.Size(), err)
			}
		}
	})
}

// A reader beside a writer that rotates misses nothing, as long as it keeps up.
func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := create(t, path, Limits{MaxSize: MinSize, MaxFiles: 3})
	const n = 20_000
	read, written := make(chan int, 1), make(chan struct{})
	var out bytes.Buffer
	var follow sync.WaitGroup
	follow.Go(func() {
		err := Print(t.Context(), path, Options{Tail: -1, Wait: func(context.Context) (bool, error) {
			select {
			case read <- bytes.Count(out.Bytes(), []byte("\n")):
			default:
			}
			select {
			case <-written:
				return false, nil
			default:
				return true, nil
			}
		}}, &out, io.Discard)
		if err != nil {
			t.Error(err)
		}
	})
	var want strings.Builder
	for i, seen := 0, 0; i < n; i++ {
		for i-seen > 2000 { // lines of 10 bytes and records of 30: within a file
			seen = <-read
		}
		line := strconv.Itoa(1e8+i) + "\n"
		w.Write(Stdout, []byte(line))
		want.WriteString(line)
	}
	close(written)
	follow.Wait()
	if out.String() != want.String() {
		t.Errorf("%d bytes were read of %d", out.Len(), want.Len())
	}
}

// A record cut off by a kill goes, and the log goes on.
func TestCutOff(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := create(t, path, DefaultLimits())
	w.Write(Stdout, []byte("first\n"))
	w.Write(Stdout, []byte("second\n"))
	_ = w.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len("second\n") + overhead {
		if err := os.WriteFile(path, whole[:len(whole)-1-cut], 0o600); err != nil {
			t.Fatal(err)
		}
		if out, _ := printed(t, path, Options{Tail: -1}); out != "first\n" {
			t.Fatalf("cut by %d: %q", cut+1, out)
		}
		w := create(t, path, DefaultLimits())
		w.Write(Stdout, []byte("third\n"))
		_ = w.Close()
		if out, _ := printed(t, path, Options{Tail: -1}); out != "first\nthird\n" {
			t.Fatalf("cut by %d, written again: %q", cut+1, out)
		}
	}
}

// What a full disk swallowed is said, once there is room.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatalf("a small file system is needed (as root): %v", err)
	}
	defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	ballast := filepath.Join(dir, "ballast")
	path := filepath.Join(dir, "log")
	w := create(t, path, DefaultLimits())
	w.Write(Stdout, []byte("before\n"))
	if err := os.WriteFile(ballast, make([]byte, 64<<10), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	w.Write(Stdout, bytes.Repeat([]byte("x"), 5000))
	w.Write(Stderr, bytes.Repeat([]byte("y"), 5000))
	if n, why := w.Lost(); n != 10_000 || !errors.Is(why, unix.ENOSPC) {
		t.Errorf("%d bytes lost, %v", n, why)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	w.Write(Stdout, []byte("after\n"))
	out, stderr := printed(t, path, Options{Tail: -1})
	if out != "before\nafter\n" || stderr != "mvm: \"10000\" bytes of the log are lost here: \"no space left on device\"\n" {
		t.Errorf("%q, %q", out, stderr)
	}
}

func TestMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := Print(t.Context(), path, Options{}, io.Discard, io.Discard); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := Create(path, Limits{MaxSize: 1, MaxFiles: 1}); err == nil {
		t.Error("a log smaller than a record")
	}
}

// Files of a log may hold anything: the reader ends, with what is right before it.
func FuzzReader(f *testing.F) {
	r := appendRecord(nil, Record{Stream: Stdout, Time: time.Unix(1, 2), Data: []byte("hello\n")})
	r = appendRecord(r, Record{Stream: Lost, Time: time.Unix(1, 3), Data: []byte("12 why")})
	f.Add(r)
	f.Add(r[:len(r)-1])
	f.Add(bytes.Repeat([]byte{0xff}, 40))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		err := Print(t.Context(), path, Options{Tail: 3, Timestamps: true}, &out, &out)
		if err != nil && !errors.Is(err, errDamaged) {
			t.Fatal(err)
		}
		w, err := Create(path, DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		w.Write(Stdout, []byte("more"))
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		out.Reset()
		if err := Print(t.Context(), path, Options{Tail: -1}, &out, &out); err != nil || !strings.HasSuffix(out.String(), "more") {
			t.Fatalf("%q, %v", out.String(), err)
		}
	})
}
