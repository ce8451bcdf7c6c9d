package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/mvm-project/mvm/internal/container"
	"github.com/mvm-project/mvm/internal/control"
	"github.com/mvm-project/mvm/vmm/pvm"
)

func (a *app) runCommand() *cobra.Command {
	f := &runFlags{}
	cmd := &cobra.Command{
		Use: "run [OPTIONS] IMAGE [COMMAND] [ARG...]",

		DisableFlagsInUseLine: true,

		Short: "Run a container image in a microVM",
		Long: `Run a container image in a microVM of its own. Options mean what docker run's
mean. The image u-root is built in.

The exit status is that of the container's process, 128+N if signal N ended it,
124 if it reached --timeout, 125 if mvm failed, 126 if the command cannot be
executed and 127 if it is not there.`,
		Example: `  mvm run u-root echo hello
  mvm run --rm alpine cat /etc/os-release
  echo hello | mvm run -i --rm alpine tr a-z A-Z
  mvm run --name web --memory 1g --cpus 2 -e MODE=test python:3 python -c 'print(1)'`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeRun,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.run(cmd, f, args[0], args[1:])
		},
	}
	f.register(cmd.Flags())
	_ = cmd.RegisterFlagCompletionFunc("network", a.completeNetworks) // fails only without the flag
	cmd.Flags().BoolVarP(&f.life.detach, "detach", "d", false, "run it in the background, and print its ID")
	return cmd
}

// run runs a container to its end; its exit status is an exitStatus error.
func (a *app) run(cmd *cobra.Command, f *runFlags, ref string, args []string) error {
	// From here on no signal ends mvm: it cancels the way to the image, or goes
	// to the container.
	signals := clientSignals()
	s, o, err := a.describe(cmd, f, signals, ref, args, !f.life.detach)
	if err != nil {
		return err
	}
	program, err := container.FindVMM()
	if err != nil {
		return err
	}
	switch {
	case f.life.detach:
		return runDetached(cmd, signals, s, program, o)
	case f.tty:
		return f.connect(signals, func(client container.Client) (control.Exit, error) {
			return s.RunAttached(cmd.Context(), program, o, client)
		})
	}
	stdin, err := stdinFor(f.interactive)
	if err != nil {
		return err
	}
	return ended(s.Run(cmd.Context(), program, o, container.IO{
		Stdin: stdin, Stdout: os.Stdout, Stderr: os.Stderr, Signals: signals,
	}))
}

// describe makes of the flags, the image and the host what a container is.
func (a *app) describe(cmd *cobra.Command, f *runFlags, signals <-chan os.Signal, ref string, args []string, foreground bool) (*container.Store, container.Options, error) {
	o, w, err := f.parse(cmd.Flags())
	if err == nil {
		err = f.life.parse(&o, foreground)
	}
	if err == nil {
		err = a.checkNetwork(o.Network)
	}
	if err != nil {
		return nil, o, err
	}
	w.Args = args
	if o.PVM, err = pvm.Detect(os.DirFS("/sys")); err != nil {
		return nil, o, err
	}
	if err := a.prepare(cmd.Context(), signals, ref, f, w, &o); err != nil {
		return nil, o, err
	}
	if err := f.process.parse(&o); err != nil {
		return nil, o, err
	}
	if f.tty {
		size := terminalSize()
		o.Process.TTY = &size
	}
	s, err := a.store()
	if err != nil {
		return nil, o, err
	}
	o.IDFile, err = f.life.openCIDFile()
	return s, o, err
}

// ended is the error of a process's end.
func ended(exit control.Exit, err error) error {
	switch {
	case err != nil:
		return err
	case exit.Error != "":
		return exitError{exit.Error, exitStatus(exit.Code)}
	case exit.OOMKilled && exit.Code == statusKilled:
		return exitError{"memory ran out in the container, and the kernel killed a process of its: give it more with --memory", statusKilled}
	case exit.Code != 0:
		return exitStatus(exit.Code)
	}
	return nil
}

// runDetached prints the container's ID as soon as its process runs.
func runDetached(cmd *cobra.Command, signals <-chan os.Signal, s *container.Store, program string, o container.Options) error {
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	go func() { // ends with the function
		select {
		case <-signals:
			cancel()
		case <-ctx.Done():
		}
	}()
	id, exit, err := s.RunDetached(ctx, program, o)
	if err != nil || exit.Error != "" {
		return ended(exit, err)
	}
	fmt.Fprintln(cmd.OutOrStdout(), id)
	return nil
}
