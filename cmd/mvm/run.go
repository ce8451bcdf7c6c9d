package main

import (
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/mvm-project/mvm/internal/container"
	"github.com/mvm-project/mvm/internal/doctor"
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
	return cmd
}

// run runs a container to its end; its exit status is an exitStatus error.
func (a *app) run(cmd *cobra.Command, f *runFlags, ref string, args []string) error {
	// From here on no signal ends mvm: it cancels the way to the image, or goes
	// to the container.
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	o, w, err := f.parse(cmd.Flags())
	if err != nil {
		return err
	}
	w.Args = args
	if o.Kernel == "" && doctor.KindOf(os.DirFS("/sys")) == doctor.PVM {
		return errors.New("this host's /dev/kvm is a kvm-pvm, on which mvm's kernel does not boot: see mvm doctor")
	}
	if err := a.prepare(cmd.Context(), signals, ref, f, w, &o); err != nil {
		return err
	}
	program, err := container.FindVMM()
	if err != nil {
		return err
	}
	s, err := container.Open(a.root)
	if err != nil {
		return err
	}
	stdin, err := stdinFor(f.interactive)
	if err != nil {
		return err
	}
	exit, err := s.Run(cmd.Context(), program, o, container.IO{
		Stdin: stdin, Stdout: os.Stdout, Stderr: os.Stderr, Signals: signals,
	})
	switch {
	case err != nil:
		return err
	case exit.Error != "":
		return exitError{exit.Error, exitStatus(exit.Code)}
	case exit.Code != 0:
		return exitStatus(exit.Code)
	}
	return nil
}
