package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mvm-project/mvm/internal/container"
	"github.com/mvm-project/mvm/internal/control"
)

// execFlags are exec's flags as they were given.
type execFlags struct {
	clientFlags
	detach bool

	env, envFile  []string
	workdir, user string
}

func (a *app) execCommand() *cobra.Command {
	f := &execFlags{}
	cmd := &cobra.Command{
		Use:   "exec [OPTIONS] CONTAINER COMMAND [ARG...]",
		Short: "Run a further command in a running container",
		Long: `Run a further command in a running container. The exit status is the command's,
128+N if signal N ended it, 125 if mvm failed, 126 if it cannot be executed and
127 if it is not there. When mvm exec is killed, its command loses its streams.`,
		Example: `  mvm exec web ps
  tar c . | mvm exec -i web tar x -C /srv
  mvm exec -it web sh
  mvm exec -d web touch /tmp/mark`,

		DisableFlagsInUseLine: true,

		Args: cobra.MinimumNArgs(2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return a.completeUp(cmd, args, word)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.exec(cmd, f, args[0], args[1:])
		},
	}
	fs := cmd.Flags()
	fs.SetInterspersed(false)
	fs.BoolVarP(&f.interactive, "interactive", "i", false, "give the process mvm's stdin")
	fs.BoolVarP(&f.tty, "tty", "t", false, "give the process a terminal")
	fs.StringVar(&f.detachKeys, "detach-keys", defaultDetachKeys, "the `KEYS` that leave a terminal")
	fs.BoolVarP(&f.detach, "detach", "d", false, "leave the process to itself once it runs")
	fs.StringArrayVarP(&f.env, "env", "e", nil, "set a `VARIABLE`: NAME=value, or NAME to pass it on")
	fs.StringArrayVar(&f.envFile, "env-file", nil, "set the variables of a `FILE`")
	fs.StringVarP(&f.workdir, "workdir", "w", "", "the working `DIRECTORY` (default the container's)")
	fs.StringVarP(&f.user, "user", "u", "", "the `USER`: NAME|UID[:GROUP|GID] (default the container's)")
	return cmd
}

func (a *app) exec(cmd *cobra.Command, f *execFlags, ref string, args []string) error {
	signals := clientSignals()
	env, err := readVariables(f.envFile, f.env)
	if err != nil {
		return err
	}
	_, c, err := a.one(ref)
	if err != nil {
		return err
	}
	if c.Status == container.Paused {
		return fmt.Errorf("container %s is paused: let it go on with mvm unpause", ref)
	}
	p, err := c.NewExec(container.Overrides{
		Args: args, Env: env, User: f.user, WorkingDir: f.workdir, Stdin: f.interactive,
	})
	if err != nil {
		return err
	}
	if f.detach && f.interactive {
		return errors.New("-d and -i contradict each other: take one")
	}
	p.Detach = f.detach
	if f.tty {
		size := terminalSize()
		p.TTY = &size
	}
	return f.connect(signals, func(client container.Client) (control.Exit, error) {
		return c.Exec(cmd.Context(), control.Exec{Process: p, Detached: f.detach}, client)
	})
}
