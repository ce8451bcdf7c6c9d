package main

import (
	"math"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/images"
	"github.com/mvm-project/mvm/internal/container"
)

func TestCapabilities(t *testing.T) {
	without := func(list []string, name string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == name })
	}
	for _, tt := range []struct {
		add, drop []string
		want      []string // nil: the default ones
		all       bool
	}{
		{},
		{add: []string{"net_admin"}, drop: []string{"ALL"}, want: []string{"CAP_NET_ADMIN"}},
		{drop: []string{"all"}, want: []string{}},
		{drop: []string{"CAP_CHOWN"}, want: without(proto.DefaultCapabilities(), "CAP_CHOWN")},
		{add: []string{"CHOWN"}, want: proto.DefaultCapabilities()},
		{add: []string{"CHOWN"}, drop: []string{"CHOWN"}, want: proto.DefaultCapabilities()},
		{add: []string{"ALL"}, want: slices.Sorted(slices.Values(knownCapabilities())), all: true},
		{add: []string{"ALL", "CHOWN"}, drop: []string{"ALL"}, want: slices.Sorted(slices.Values(knownCapabilities())), all: true},
		{add: []string{"ALL"}, drop: []string{"SYS_ADMIN"}, want: without(slices.Sorted(slices.Values(knownCapabilities())), "CAP_SYS_ADMIN")},
	} {
		var p proto.Process
		err := (&processFlags{capAdd: tt.add, capDrop: tt.drop}).setCapabilities(&p)
		if err != nil || !cmp.Equal(p.Capabilities, tt.want) || p.AllCapabilities != tt.all {
			t.Errorf("add %q, drop %q: %q, all %v, %v", tt.add, tt.drop, p.Capabilities, p.AllCapabilities, err)
		}
	}
}

func TestProcessFlags(t *testing.T) {
	f := processFlags{
		init: true, ulimits: []string{"nofile=5", "core=-1", "nofile=64:128"}, pidsLimit: 10, oomScoreAdj: -5,
		groups: []string{"staff", "77"}, sysctls: []string{"a.b=1", "a.b=x=y"}, shmSize: "1m",
		securityOpts: []string{"no-new-privileges", "seccomp:unconfined", "systempaths=unconfined", "label=disable", "apparmor=unconfined"},
	}
	var o container.Options
	if err := f.parse(&o); err != nil {
		t.Fatal(err)
	}
	want := container.Options{PIDs: 10, Unmasked: true, ShmSize: 1 << 20, Sysctls: map[string]string{"a.b": "x=y"}, Process: proto.Process{
		Init: true, Groups: []string{"staff", "77"}, NoNewPrivs: true, Unconfined: true, OOMScoreAdj: -5,
		Rlimits: []proto.Rlimit{{Name: "core", Soft: proto.RlimitInfinity, Hard: proto.RlimitInfinity}, {Name: "nofile", Soft: 64, Hard: 128}},
	}}
	if o.PIDs != want.PIDs || o.Unmasked != want.Unmasked || o.ShmSize != want.ShmSize || !cmp.Equal(o.Sysctls, want.Sysctls) || !cmp.Equal(o.Process, want.Process) {
		t.Errorf("%+v", o)
	}
	for _, tt := range []struct {
		f   processFlags
		err string
	}{
		{processFlags{ulimits: []string{"nofile"}}, "--ulimit"},
		{processFlags{ulimits: []string{"nothing=1"}}, "--ulimit"},
		{processFlags{ulimits: []string{"nofile=2:1"}}, "--ulimit"},
		{processFlags{capAdd: []string{"fly"}}, `--cap-add: there is no capability "fly"`},
		{processFlags{capDrop: []string{"fly"}}, "--cap-drop"},
		{processFlags{pidsLimit: -2}, "--pids-limit"},
		{processFlags{oomScoreAdj: 1001}, "--oom-score-adj"},
		{processFlags{securityOpts: []string{"seccomp=/some/file"}}, "default profile"},
		{processFlags{securityOpts: []string{"apparmor=mine"}}, "AppArmor"},
		{processFlags{securityOpts: []string{"no-new-privileges=perhaps"}}, "bad option"},
		{processFlags{securityOpts: []string{"fly"}}, "bad option"},
	} {
		if err := tt.f.parse(&container.Options{}); err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%+v: %v", tt.f, err)
		}
	}
}

func TestParseSignal(t *testing.T) {
	for text, want := range map[string]syscall.Signal{
		"": 0, "TERM": syscall.SIGTERM, "sigkill": syscall.SIGKILL, "15": syscall.SIGTERM, "64": 64,
		"SIGRTMIN": 34, "rtmin+3": 37, "SIGRTMIN+30": 64, "RTMAX-30": 34, "SIGRTMAX-14": 50, "RTMAX": 64,
	} {
		if got, err := parseSignal(text); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"0", "65", "-1", "FLY", "SIG", "RTMIN+31", "RTMAX+1", "RTMIN-1", "RTMIN+", "RTMIN+3x"} {
		if got, err := parseSignal(text); err == nil {
			t.Errorf("%q: %d", text, got)
		}
	}
}

func TestInherit(t *testing.T) {
	image := images.Config{Labels: map[string]string{"a": "image", "b": "image"}, StopSignal: "QUIT"}
	o := container.Options{Labels: map[string]string{"a": "user"}}
	if err := inherit(&o, image); err != nil || o.StopSignal != int(syscall.SIGQUIT) || !cmp.Equal(o.Labels, map[string]string{"a": "user", "b": "image"}) {
		t.Errorf("%+v, %v", o, err)
	}
	if image.Labels["a"] != "image" {
		t.Error("the image was changed")
	}
	o = container.Options{StopSignal: 9}
	if err := inherit(&o, image); err != nil || o.StopSignal != 9 {
		t.Errorf("%+v, %v", o, err)
	}
	if err := inherit(&container.Options{}, images.Config{StopSignal: "FLY"}); err == nil {
		t.Error("no such signal")
	}
}

func TestStopPatience(t *testing.T) {
	for seconds, want := range map[int]time.Duration{0: 0, 10: 10 * time.Second, -1: math.MaxInt64, math.MaxInt: math.MaxInt64} {
		if got := stopPatience(seconds); got != want {
			t.Errorf("%d seconds: %v; want %v", seconds, got, want)
		}
	}
}
