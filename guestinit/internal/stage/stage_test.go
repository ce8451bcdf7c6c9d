package stage

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/proto"
)

func TestSearch(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer map[string]error // of paths; ENOENT for others
		path   string
		code   proto.Code // "": it runs
	}{
		{"ls", map[string]error{"/b/ls": nil}, "/a:/b", ""},
		{"ls", map[string]error{"./ls": nil}, "/a::/b", ""},
		{"ls", nil, "/a:/b", proto.NotFound},
		{"ls", map[string]error{"/a/ls": unix.EACCES, "/b/ls": nil}, "/a:/b", ""},
		{"ls", map[string]error{"/a/ls": unix.EACCES}, "/a:/b", proto.NotExecutable},
		{"ls", map[string]error{"/a/ls": unix.ENOTDIR}, "/a:/b", proto.NotFound},
		{"ls", map[string]error{"/a/ls": nil}, "", proto.NotFound},
		{"/x/ls", map[string]error{"/x/ls": nil}, "", ""},
		{"/x/ls", nil, "/a", proto.NotFound},
		{"./ls", map[string]error{"./ls": unix.ENOEXEC}, "/a", proto.NotExecutable},
		{"/x/ls", map[string]error{"/x/ls": unix.E2BIG}, "", proto.NotExecutable},
	} {
		err := search([]string{c.name}, []string{"X=1", "PATH=" + c.path}, func(path string) error {
			if e, ok := c.answer[path]; ok {
				return e
			}
			return unix.ENOENT
		})
		if c.code == "" && err != nil || c.code != "" && (err == nil || proto.ErrorOf(err).Code != c.code || !strings.Contains(err.Error(), c.name)) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if err := search(nil, nil, nil); err == nil {
		t.Error("no command")
	}
	if err := notStarted("/", unix.EACCES); !strings.Contains(err.Error(), "directory") {
		t.Error(err)
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
