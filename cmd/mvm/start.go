package main

import (
	"context"
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/mvm-project/mvm/guestinit/initramfs"
	"github.com/mvm-project/mvm/internal/container"
	"github.com/mvm-project/mvm/internal/control"
	"github.com/mvm-project/mvm/kernel"
	"github.com/mvm-project/mvm/vmm/pvm"
)

// boot is what containers are started again with.
func (a *app) boot() (b container.Boot, err error) {
	interpreted, err := pvm.Detect(os.DirFS("/sys"))
	if err != nil {
		return b, err
	}
	k, err := kernel.Open(a.root, flavour(interpreted))
	if err != nil {
		return b, err
	}
	b.Kernel = k.Path
	if b.Initrd, err = initramfs.Open(a.root); err != nil {
		return b, err
	}
	b.Program, err = container.FindVMM()
	return b, err
}

func (a *app) startCommand() *cobra.Command {
	f := clientFlags{}
	var attach bool
	cmd := a.eachCommand("start [OPTIONS]", "Start containers that were created or have ended",
		"  mvm start web\n  mvm start -a -i shell", a.completeDown, a.start)
	each := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case !attach && !f.interactive:
			return each(cmd, args)
		case len(args) > 1:
			return errors.New("-a and -i are for one container at a time")
		}
		return a.startAttached(cmd, f, args[0])
	}
	cmd.Flags().BoolVarP(&attach, "attach", "a", false, "stay with the container, and end as it does")
	cmd.Flags().BoolVarP(&f.interactive, "interactive", "i", false, "give it mvm's stdin; with that, stay with it too")
	cmd.Flags().StringVar(&f.detachKeys, "detach-keys", defaultDetachKeys, "the `KEYS` that leave it running")
	return cmd
}

func (a *app) startAttached(cmd *cobra.Command, f clientFlags, ref string) error {
	signals := clientSignals()
	s, c, err := a.one(ref)
	if err != nil {
		return err
	}
	b, err := a.boot()
	if err != nil {
		return err
	}
	f.tty = c.Spec.Process.TTY != nil
	return f.connect(signals, func(client container.Client) (control.Exit, error) {
		return s.StartAttached(cmd.Context(), c.ID, b, client)
	})
}

func (a *app) start(ctx context.Context, c *container.Container) error {
	b, err := a.boot()
	if err != nil {
		return err
	}
	s, err := a.store()
	if err != nil {
		return err
	}
	exit, err := s.Start(ctx, c.ID, b)
	if err == nil && exit.Error != "" {
		err = errors.New(exit.Error)
	}
	return err
}

func (a *app) restartCommand() *cobra.Command {
	f := &stopFlags{}
	cmd := a.eachCommand("restart [OPTIONS]", "Stop containers and start them again", "  mvm restart web", a.completeContainers,
		func(ctx context.Context, c *container.Container) error {
			if err := f.stop(ctx, c); err != nil {
				return err
			}
			return a.start(ctx, c)
		})
	f.register(cmd)
	return cmd
}
