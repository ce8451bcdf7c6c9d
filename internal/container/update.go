package container

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/docker/go-units"

	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/internal/control"
	"github.com/mvm-project/mvm/vmm"
)

// Update is a change of a container's limits and restart policy. What is 0, or nil, stays.
type Update struct {
	CPUs CPUs
	// Memory is in bytes.
	Memory int64
	// PIDs is how many processes and threads it may have; proto.Unlimited: any.
	PIDs    int64
	Devices vmm.Limits
	Restart *control.Restart
}

// Update changes a container's limits, at once if it runs. What its microVM was
// made with, vCPUs and memory, bounds those of one that runs.
func (s *Store) Update(ctx context.Context, ref string, u Update) error {
	id, err := s.find(ref)
	if err != nil {
		return err
	}
	c, err := read(s.path(containersDir, id))
	switch {
	case err != nil:
	case c.Remove && u.Restart != nil && *u.Restart != (control.Restart{}):
		err = errors.New("it is removed when it has ended (--rm), and cannot be restarted")
	case c.Up():
		err = s.updateRunning(ctx, &c, u)
	default:
		err = s.updateIdle(ctx, id, u)
	}
	if err != nil {
		return fmt.Errorf("update container %s: %w", ref, err)
	}
	return nil
}

func (s *Store) updateRunning(ctx context.Context, c *Container, u Update) error {
	change, err := u.running(c.Spec)
	if err != nil {
		return err
	}
	if _, err := c.say(ctx, control.Message{Change: &change}); err != nil {
		return err
	}
	return s.rewrite(c.ID, func(c *Config) { c.Spec.Apply(change) })
}

// updateIdle holds the container's lock, so that it does not start meanwhile.
func (s *Store) updateIdle(ctx context.Context, id string, u Update) error {
	lock, err := waitLock(ctx, s.path(containersDir, id))
	if err != nil {
		return err
	}
	return errors.Join(s.rewrite(id, func(c *Config) { u.idle(&c.Spec) }), lock.Close())
}

// rewrite changes a container's config.json, one process at a time.
func (s *Store) rewrite(id string, change func(*Config)) error {
	unlock, err := s.lockNames()
	if err != nil {
		return err
	}
	defer unlock()
	dir := s.path(containersDir, id)
	c, err := read(dir)
	if err != nil {
		return err
	}
	change(&c.Config)
	return writeJSON(filepath.Join(dir, configFile), c.Config, durable)
}

// running is what changes of a container that runs.
func (u Update) running(spec control.Spec) (control.Change, error) {
	c := control.Change{Devices: u.Devices, Restart: u.Restart}
	most := CPUs(spec.VM.VCPUs) * oneCPU
	if u.CPUs > most {
		return c, fmt.Errorf("it runs on %d vCPUs: stop it first to give it more", spec.VM.VCPUs)
	}
	if u.Memory > spec.VM.Memory {
		return c, fmt.Errorf("its microVM has %s of memory: stop it first to give it more", units.BytesSize(float64(spec.VM.Memory)))
	}
	if u.CPUs == 0 && u.Memory == 0 && u.PIDs == 0 {
		return c, nil
	}
	c.Guest = &proto.Limits{CPUMicros: int64(u.CPUs), Memory: u.Memory, PIDs: u.PIDs}
	if u.CPUs == most { // all there is
		c.Guest.CPUMicros = proto.Unlimited
	}
	if u.Memory == spec.VM.Memory {
		c.Guest.Memory = proto.Unlimited
	}
	return c, nil
}

// idle changes one that does not run: its next microVM.
func (u Update) idle(spec *control.Spec) {
	c := control.Change{Guest: &proto.Limits{PIDs: u.PIDs}, Devices: u.Devices, Restart: u.Restart}
	if u.CPUs != 0 {
		spec.VM.VCPUs = u.CPUs.VCPUs()
		if c.Guest.CPUMicros = u.CPUs.bound(); c.Guest.CPUMicros == 0 {
			c.Guest.CPUMicros = proto.Unlimited
		}
	}
	if u.Memory != 0 {
		spec.VM.Memory, c.Guest.Memory = u.Memory, proto.Unlimited
	}
	spec.Apply(c)
}

// Traffic says what has passed the limits of a running container.
func (c *Container) Traffic(ctx context.Context) (control.Traffic, error) {
	m, err := c.say(ctx, control.Message{Measure: &control.Measure{}})
	if err == nil && m.Traffic == nil {
		err = fmt.Errorf("container %s: its mvm-vmm said what it should not", c.Label())
	}
	if err != nil {
		return control.Traffic{}, err
	}
	return *m.Traffic, nil
}
