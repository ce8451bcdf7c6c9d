package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/mvm-project/mvm/internal/container"
)

func (a *app) inspectCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "inspect [OPTIONS] CONTAINER...",
		Short: "Show all there is to know of containers, as JSON",
		Example: `  mvm inspect web
  mvm inspect -f '{{.State.ExitCode}}' web`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeContainers,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.containers()
			if err != nil {
				return err
			}
			found := []inspected{}
			failed := false
			for _, ref := range args {
				c, err := s.Find(ref)
				if err != nil {
					fmt.Fprintln(os.Stderr, "mvm:", err)
					failed = true
					continue
				}
				found = append(found, newInspected(c))
			}
			if format == "" {
				err = printJSON(cmd.OutOrStdout(), found)
			} else {
				err = printFormat(cmd.OutOrStdout(), format, found)
			}
			if failed {
				return errors.Join(err, exitStatus(statusFailed))
			}
			return err
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", "print by this Go `TEMPLATE`, or json")
	return cmd
}

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
	}
	HostConfig struct {
		Memory        int64
		NanoCPUs      int64 `json:"NanoCpus"`
		AutoRemove    bool
		ReadonlyRoot  bool `json:"ReadonlyRootfs"`
		RestartPolicy struct {
			Name              string
			MaximumRetryCount int
		}
	}
	LogPath string
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
	h := &i.HostConfig
	h.Memory, h.AutoRemove, h.ReadonlyRoot = c.Spec.VM.Memory, c.Remove, c.Spec.Container.Root.ReadOnly
	h.NanoCPUs = int64(c.Spec.VM.VCPUs) * 1e9
	if bound := c.Spec.Container.Limits.CPUMicros; bound > 0 {
		h.NanoCPUs = bound * 1e3
	}
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
