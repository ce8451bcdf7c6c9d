package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/internal/container"
)

func (a *app) inspectCommand() *cobra.Command {
	var format, kind string
	cmd := &cobra.Command{
		Use:   "inspect [OPTIONS] CONTAINER|IMAGE...",
		Short: "Show all there is to know of containers or images, as JSON",
		Example: `  mvm inspect web
  mvm inspect -f '{{.State.ExitCode}}' web
  mvm inspect --type image nginx`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeContainers,
		RunE: func(cmd *cobra.Command, args []string) error {
			look := a.inspectAny
			switch kind {
			case "":
			case "container":
				look = a.inspectContainer
			case "image":
				look = a.inspectImage
			default:
				return fmt.Errorf("--type: %q is neither container nor image", kind)
			}
			return inspect(cmd, args, format, look)
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", "print by this Go `TEMPLATE`, or json")
	cmd.Flags().StringVar(&kind, "type", "", "only a container or an `image` of that name")
	return cmd
}

// inspectAny looks for a container of that name, or else an image.
func (a *app) inspectAny(ref string) (any, error) {
	v, err := a.inspectContainer(ref)
	if err == nil {
		return v, nil
	}
	if v, err := a.inspectImage(ref); err == nil {
		return v, nil
	}
	return nil, err
}

func (a *app) inspectContainer(ref string) (any, error) {
	s, c, err := a.one(ref)
	if err != nil {
		return nil, err
	}
	c.Network = s.Connected(&c)
	i := newInspected(c)
	if c.Up() {
		ctx, cancel := context.WithTimeout(context.Background(), inspectPatience)
		defer cancel()
		if t, err := c.Traffic(ctx); err == nil { // one that has just ended has none
			i.Traffic = newTrafficView(t)
		}
	}
	return i, nil
}

// inspectPatience is how long a container that comes up may take to tell of its
// traffic.
const inspectPatience = 2 * time.Second

// inspected is a container as inspect prints it: docker's names, as far as they
// mean the same.
type inspected struct {
	ID      string `json:"Id"`
	Name    string
	Created string
	Path    string
	Args    []string
	Image   string
	State   struct {
		Status                      string
		Running, Paused, OOMKilled  bool
		Pid, ExitCode, RestartCount int
		Error                       string
		StartedAt, FinishedAt       string
	}
	Config struct {
		Hostname, User, WorkingDir string
		Env, Cmd                   []string
		Labels                     map[string]string
		Tty, OpenStdin             bool
		StopSignal                 string `json:",omitempty"`
	}
	HostConfig struct {
		Memory        int64
		NanoCPUs      int64 `json:"NanoCpus"`
		AutoRemove    bool
		ReadonlyRoot  bool `json:"ReadonlyRootfs"`
		Init          bool
		PidsLimit     int64
		OomScoreAdj   int
		GroupAdd      []string          `json:",omitempty"`
		Sysctls       map[string]string `json:",omitempty"`
		ShmSize       int64
		Capabilities  []string // all it may have
		Rates         rateViews
		RestartPolicy struct {
			Name              string
			MaximumRetryCount int
		}
	}
	NetworkSettings struct {
		Network                        string // user, none, tap:NAME, or a bridge network
		IPAddress, Gateway, MacAddress string
		IPPrefixLen                    int
		GlobalIPv6Address, IPv6Gateway string
		Ports                          map[string][]publication
		// Networks is the same by the network's name, as docker has it.
		Networks map[string]endpoint
	}
	Mounts  []mountPoint
	Traffic *trafficView `json:",omitempty"` // of one that runs
	LogPath string
}

// mountPoint is a mount as docker shows it.
type mountPoint struct {
	Type                string
	Name                string `json:",omitempty"` // a volume's
	Source, Destination string
	RW                  bool
}

func mountPoints(c container.Container) []mountPoint {
	points := []mountPoint{}
	for _, m := range c.Mounts {
		p := mountPoint{Type: string(m.Type), Source: m.Source, Destination: m.Path, RW: !m.ReadOnly}
		if m.Type == container.VolumeMount {
			p.Name = m.Source
		}
		points = append(points, p)
	}
	for path := range c.Spec.Container.Tmpfs {
		points = append(points, mountPoint{Type: string(container.TmpfsMount), Destination: path, RW: true})
	}
	slices.SortFunc(points, func(a, b mountPoint) int { return strings.Compare(a.Destination, b.Destination) })
	return points
}

const rfc3339Nano = "2006-01-02T15:04:05.999999999Z07:00"

func newInspected(c container.Container) inspected {
	p := c.Spec.Process
	i := inspected{
		ID: c.ID, Name: c.Name, Image: c.Image, Created: c.Created.Format(rfc3339Nano), LogPath: c.Log(),
	}
	if len(p.Args) > 0 {
		i.Path, i.Args = p.Args[0], p.Args[1:]
	}
	s := &i.State
	s.Status, s.Running, s.Paused = string(c.Status), c.Up(), c.Status == container.Paused
	s.OOMKilled, s.ExitCode, s.Error, s.RestartCount = c.Exit.OOMKilled, c.Exit.Code, c.Exit.Error, c.Restarts
	s.StartedAt, s.FinishedAt = c.Started.Format(rfc3339Nano), c.Finished.Format(rfc3339Nano)
	if c.Up() {
		s.Pid = c.VMM.PID
	}
	f := &i.Config
	f.Hostname, f.User, f.WorkingDir, f.Env, f.Cmd = c.Spec.Container.Hostname, p.User, p.Cwd, p.Env, p.Args
	f.Labels, f.Tty, f.OpenStdin = c.Labels, p.TTY != nil, p.Stdin
	if c.StopSignal != 0 {
		f.StopSignal = signalName(syscall.Signal(c.StopSignal))
	}
	h := &i.HostConfig
	h.Init, h.PidsLimit, h.OomScoreAdj, h.Capabilities = p.Init, c.Spec.Container.Limits.PIDs, p.OOMScoreAdj, p.Capabilities
	h.GroupAdd, h.Sysctls, h.ShmSize = p.Groups, c.Spec.Container.Sysctls, c.Spec.Container.ShmSize
	if p.Capabilities == nil {
		h.Capabilities = proto.DefaultCapabilities()
	}
	h.Memory, h.AutoRemove, h.ReadonlyRoot = c.Spec.VM.Memory, c.Remove, c.Spec.Container.Root.ReadOnly
	if limit := c.Spec.Container.Limits.Memory; limit > 0 {
		h.Memory = limit
	}
	h.Rates = newRateViews(c.Spec)
	h.NanoCPUs = int64(c.Spec.VM.VCPUs) * 1e9
	if bound := c.Spec.Container.Limits.CPUMicros; bound > 0 {
		h.NanoCPUs = bound * 1e3
	}
	i.setNetwork(c)
	i.Mounts = mountPoints(c)
	r := &h.RestartPolicy
	switch {
	case c.Spec.Restart.Always:
		r.Name = "always"
	case c.Spec.Restart.Failures:
		r.Name, r.MaximumRetryCount = "on-failure", c.Spec.Restart.Max
	default:
		r.Name = "no"
	}
	return i
}
