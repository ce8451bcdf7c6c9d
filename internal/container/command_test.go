package container

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mvm-project/mvm/guestinit/proto"
)

func TestNewProcess(t *testing.T) {
	words := strings.Fields
	shell, none := "/bin/sh", ""
	image := Defaults{
		Entrypoint: words("/entry -x"), Cmd: words("serve all"),
		Env: words("A=1 PATH=/bin B=2"), User: "app", WorkingDir: "/srv",
	}
	plain := proto.Process{Args: words("/entry -x serve all"), Env: image.Env, Cwd: "/srv", User: "app"}
	with := func(change func(*proto.Process)) proto.Process {
		p := plain
		change(&p)
		return p
	}
	for _, tt := range []struct {
		name string
		d    Defaults
		o    Overrides
		want proto.Process
		err  string
	}{
		{name: "image alone", d: image, want: plain},
		{
			name: "arguments", d: image, o: Overrides{Args: words("help me")},
			want: with(func(p *proto.Process) { p.Args = words("/entry -x help me") }),
		},
		{
			name: "entrypoint drops cmd", d: image, o: Overrides{Entrypoint: &shell},
			want: with(func(p *proto.Process) { p.Args = words("/bin/sh") }),
		},
		{
			name: "entrypoint and arguments", d: image, o: Overrides{Entrypoint: &shell, Args: words("-c x")},
			want: with(func(p *proto.Process) { p.Args = words("/bin/sh -c x") }),
		},
		{
			name: "no entrypoint", d: image, o: Overrides{Entrypoint: &none, Args: words("ls")},
			want: with(func(p *proto.Process) { p.Args = words("ls") }),
		},
		{name: "no entrypoint, no arguments", d: image, o: Overrides{Entrypoint: &none}, err: "no command"},
		{name: "nothing", err: "no command"},
		{name: "empty command", o: Overrides{Args: []string{""}}, err: "no command"},
		{
			name: "variables", d: image, o: Overrides{Env: words("B=3 C= A D")},
			want: with(func(p *proto.Process) { p.Env = words("PATH=/bin B=3 C=") }),
		},
		{
			name: "user and folder", d: image, o: Overrides{User: "0:0", WorkingDir: "/", Stdin: true},
			want: with(func(p *proto.Process) { p.User, p.Cwd, p.Stdin = "0:0", "/", true }),
		},
		{name: "relative folder", d: image, o: Overrides{WorkingDir: "srv"}, err: "absolute"},
		{name: "NUL", d: image, o: Overrides{Args: []string{"a\x00b"}}, err: "NUL"},
		{name: "not UTF-8", d: image, o: Overrides{Env: []string{"A=\xff"}}, err: "UTF-8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := NewProcess(tt.d, tt.o)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v; want %q", err, tt.err)
				}
				return
			}
			if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
		})
	}
	if diff := cmp.Diff(words("A=1 PATH=/bin B=2"), image.Env); diff != "" {
		t.Errorf("the image's variables were changed: %s", diff)
	}
}

func TestParseCPUs(t *testing.T) {
	for s, want := range map[string]struct {
		vcpus int
		bound int64
	}{"1": {1, 0}, "2": {2, 0}, "0.5": {1, 500_000}, "1.1": {2, 1_100_000}, "2.5": {3, 2_500_000}, "0.01": {1, 10_000}} {
		c, err := ParseCPUs(s)
		if err != nil || c.VCPUs() != want.vcpus || c.bound() != want.bound {
			t.Errorf("%s: %d vCPUs, bound %d, %v; want %v", s, c.VCPUs(), c.bound(), err, want)
		}
	}
	for _, s := range []string{"", "0", "-1", "x", "nan", "inf", "1e300", "0.001", "1,5"} {
		if c, err := ParseCPUs(s); err == nil {
			t.Errorf("%q was taken as %d", s, c)
		}
	}
	if CPUs(math.MaxInt32).VCPUs() < 2 {
		t.Error("overflow")
	}
}

func TestConfig(t *testing.T) {
	_, o := testStore(t)
	o.Process.Env = []string{"A=1"}
	c := o.config("0123456789ab")
	p := c.Spec.Container
	if p.Hostname != c.ID || !cmp.Equal(c.Spec.Process.Env, []string{"A=1", "HOSTNAME=" + c.ID}) {
		t.Errorf("host name %s, variables %v", p.Hostname, c.Spec.Process.Env)
	}
	if len(c.Spec.VM.Disks) != 1 || p.Root.Layer != "" {
		t.Errorf("a read-only container has disks %v", c.Spec.VM.Disks)
	}
	o.ReadOnly, o.Hostname, o.Process.Env = false, "web", []string{"HOSTNAME=x"}
	c = o.config("0123456789ab")
	p = c.Spec.Container
	if p.Hostname != "web" || !cmp.Equal(c.Spec.Process.Env, []string{"HOSTNAME=x"}) {
		t.Errorf("host name %s, variables %v", p.Hostname, c.Spec.Process.Env)
	}
	if d := c.Spec.VM.Disks; len(d) != 2 || !d[0].ReadOnly || d[1].ReadOnly || p.Root.Layer != "/dev/vdb" {
		t.Errorf("disks %v, layer %q", d, p.Root.Layer)
	}
	o.Disks = []Disk{{"/a", false}, {"/b", true}}
	c = o.config("0123456789ab")
	p = c.Spec.Container
	d := c.Spec.VM.Disks
	if len(d) != 4 || d[0].Path != "/a" || d[0].ReadOnly || !d[1].ReadOnly || !cmp.Equal(p.Disks, []string{"/dev/vda", "/dev/vdb"}) ||
		p.Root.Image != "/dev/vdc" || d[2].Path != imageFile || p.Root.Layer != "/dev/vdd" {
		t.Errorf("disks %v, in the container %v, root %+v", d, p.Disks, p.Root)
	}
}
