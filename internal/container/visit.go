package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/internal/control"
)

// Visit boots the microVM of a container that does not run, without its process,
// so that its files can be got at: with the methods that copy. leave ends it. Of a
// container that runs there is nothing to boot.
func (s *Store) Visit(ctx context.Context, ref string, b Boot) (c *Container, leave func() error, err error) {
	c, lock, err := s.idle(ctx, ref, b)
	if err != nil {
		return nil, nil, err
	}
	if lock == nil {
		return c, func() error { return nil }, nil
	}
	v := &visit{container: c, lock: lock}
	if err := v.begin(ctx, b.Program); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("container %s: boot it for a copy: %w", c.Label(), err), lock.Close())
	}
	c.visited = true
	return c, func() error { return v.end(ctx) }, nil
}

// visit is a microVM that runs beside a container's life.
type visit struct {
	container *Container
	lock      *os.File
	*machine
}

func (v *visit) begin(ctx context.Context, program string) (err error) {
	spec := v.container.Spec
	spec.Process = proto.Process{Archive: &proto.Archive{Do: proto.Hold}}
	spec.Container.Root.Discard = false // what is copied has to be on the disk
	spec.VM.NICs, spec.Interface = nil, nil
	spec.Log, spec.Restart, spec.Console = nil, control.Restart{}, false
	if v.machine, err = launch(program, v.container.dir, v.container.ID, v.lock, IO{}, nil, v.container.Mounts); err != nil {
		return err
	}
	if err = v.tell(control.Message{Start: &control.Start{Spec: spec, Visit: true}}); err == nil {
		err = v.await(ctx)
	}
	if err != nil {
		v.kill()
		v.machine.end(ctx)
	}
	return err
}

// await waits until the microVM is up.
func (v *visit) await(ctx context.Context) error {
	select {
	case m, open := <-v.messages:
		switch {
		case !open:
			return errSilent
		case m.Failed != nil:
			return failure(*m.Failed)
		case m.Exit != nil:
			return errors.New(checked(*m.Exit).Error)
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// end has the guest write the container's layer, and waits until it is done.
func (v *visit) end(ctx context.Context) error {
	_ = v.conn.Send(control.Message{Signal: &control.Signal{Signo: int(syscall.SIGKILL)}}) // a mvm-vmm that is gone is noticed next
	var err error
	select {
	case m, open := <-v.messages:
		switch {
		case !open:
			err = errSilent
		case m.Failed != nil:
			err = failure(*m.Failed)
		}
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	v.machine.end(ctx)
	return errors.Join(err, v.lock.Close())
}
