package launch

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/proto"
)

func TestCandidates(t *testing.T) {
	for _, c := range []struct {
		name, path string
		want       []string
	}{
		{"ls", "/a:/b", []string{"/a/ls", "/b/ls"}},
		{"ls", "/a::/b", []string{"/a/ls", "./ls", "/b/ls"}},
		{"ls", "", []string{""}},
		{"/x/ls", "/a", []string{"/x/ls"}},
		{"./ls", "/a", []string{"./ls"}},
		{"", "/a", []string{"/a/"}},
	} {
		if got := candidates(c.name, []string{"X=1", "PATH=" + c.path}); !cmp.Equal(got, c.want) {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

func TestNotStarted(t *testing.T) {
	for _, c := range []struct {
		name  string
		errno unix.Errno
		code  proto.Code
		text  string
	}{
		{"ls", unix.ENOENT, proto.NotFound, "$PATH"},
		{"ls", unix.ENOTDIR, proto.NotFound, "$PATH"},
		{"ls", unix.EACCES, proto.NotExecutable, "permission denied"},
		{"/x/ls", unix.ENOENT, proto.NotFound, "no such file"},
		{"/x/ls", unix.E2BIG, proto.NotExecutable, "too long"},
		{"./ls", unix.ENOEXEC, proto.NotExecutable, "format"},
		{"/", unix.EACCES, proto.NotExecutable, "directory"},
	} {
		err := proto.ErrorOf(notStarted(c.name, c.errno))
		if err.Code != c.code || !strings.Contains(err.Text, c.text) || !strings.Contains(err.Text, c.name) {
			t.Errorf("%+v: %+v", c, err)
		}
	}
}

func TestWithDefault(t *testing.T) {
	env := []string{"PATHS=1", "HOME="}
	if got := withDefault(env, "PATH", "/bin"); !cmp.Equal(got, []string{"PATHS=1", "HOME=", "PATH=/bin"}) {
		t.Error(got)
	}
	if got := withDefault(env, "HOME", "/root"); !cmp.Equal(got, env) {
		t.Error(got)
	}
}

func TestCapabilities(t *testing.T) {
	all, err := allBut(nil)
	if err != nil {
		t.Fatal(err)
	}
	rest, err := allBut(proto.DefaultCapabilities())
	if err != nil || len(rest) != len(all)-len(proto.DefaultCapabilities()) {
		t.Errorf("%d of %d, %v", len(rest), len(all), err)
	}
	none, err := allBut(allNames())
	if err != nil || len(none) > 0 {
		t.Errorf("%v %v", none, err)
	}
	for _, bad := range []string{"chown", "CAP_", "cap_chown", "CAP_ALL"} {
		if _, err := allBut([]string{bad}); proto.ErrorOf(err).Code != proto.Invalid {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestMounts(t *testing.T) {
	m := tmpfsMounts(map[string]string{"/a/b": "", "/a": "size=1m", "../c": ""})
	var targets []string
	for _, x := range m {
		targets = append(targets, x.Target)
	}
	if len(m) != 3 || targets[2] != "/a/b" {
		t.Errorf("%v", targets)
	}
	for _, x := range kernelMounts(proto.Container{Namespaces: []proto.Namespace{}, ShmSize: 5}) {
		if x.FSType == "mqueue" {
			t.Error("message queues of the machine's")
		}
		if x.Target == "/dev/shm" && !strings.Contains(x.Data, "size=5") {
			t.Error(x.Data)
		}
	}
}

func TestAccounts(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, filepath.Join(dir, "missing"), dir} {
		f := accounts(path) // none of these may hang
		var b [1]byte
		if n, _ := f.Read(b[:]); n != 0 {
			t.Errorf("%s has something", path)
		}
		_ = f.Close()
	}
	if _, err := os.Stat(fifo); err != nil {
		t.Error(err)
	}
}
