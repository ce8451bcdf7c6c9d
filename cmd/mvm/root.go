package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/mvm-project/mvm/images"
	"github.com/mvm-project/mvm/internal/container"
	"github.com/mvm-project/mvm/internal/network/bridge"
)

// app is what the verbs share.
type app struct {
	root string // mvm's folder
}

func newRoot() *cobra.Command {
	a := &app{}
	cmd := &cobra.Command{
		Use:   "mvm",
		Short: "Run container images in microVMs",
		Long: `mvm runs a container image inside its own microVM: as easy as a container,
with a virtual machine as the wall around it. There is no daemon.`,
		Example: `  mvm run u-root echo hello
  mvm run --rm alpine cat /etc/os-release
  echo hello | mvm run -i --rm alpine tr a-z A-Z`,
		SilenceErrors: true, // main reports them
		SilenceUsage:  true, // an error is one line
	}
	cmd.PersistentFlags().StringVar(&a.root, "root", "", "mvm's folder (default $MVM_ROOT, else /var/lib/mvm for root, ~/.local/share/mvm for others)")
	cmd.PersistentPreRunE = func(*cobra.Command, []string) error { return a.findRoot() }
	cmd.SetFlagErrorFunc(flagError)
	cmd.AddCommand(
		a.runCommand(), a.psCommand(), a.rmCommand(),
		a.startCommand(), a.stopCommand(), a.restartCommand(), a.killCommand(), a.waitCommand(), a.logsCommand(), a.execCommand(), a.attachCommand(), a.cpCommand(),
		a.createCommand(), a.inspectCommand(), a.pauseCommand(), a.unpauseCommand(), a.topCommand(), a.statsCommand(), a.portCommand(),
		a.renameCommand(), a.updateCommand(), a.containerCommand(),
		a.imagesCommand(), a.pullCommand(), a.loadCommand(), a.saveCommand(), a.rmiCommand(), a.imageCommand(),
		a.eventsCommand(), a.infoCommand(), a.pruneCommand(), a.volumeCommand(), a.networkCommand(), a.kernelCommand(), a.doctorCommand(), a.versionCommand(),
	)
	return cmd
}

// findRoot settles where mvm's folder is.
func (a *app) findRoot() error {
	if a.root == "" {
		a.root = os.Getenv("MVM_ROOT")
	}
	if a.root == "" && os.Geteuid() == 0 {
		a.root = "/var/lib/mvm"
	}
	if a.root == "" {
		data := os.Getenv("XDG_DATA_HOME")
		if data == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				return fmt.Errorf("find mvm's folder: %w: give it with --root or MVM_ROOT", err)
			}
			data = filepath.Join(home, ".local", "share")
		}
		a.root = filepath.Join(data, "mvm")
	}
	var err error
	a.root, err = filepath.Abs(a.root)
	return err
}

func (a *app) images() (*images.Store, error) {
	return images.Open(filepath.Join(a.root, "images"))
}

// containers opens the containers for a verb that looks at them: what killed
// commands left is cleared away first.
func (a *app) containers() (*container.Store, error) {
	s, err := a.store()
	if err != nil {
		return nil, err
	}
	return s, s.Sweep()
}

// store opens the containers as they are.
func (a *app) store() (*container.Store, error) {
	return container.Open(a.root, bridge.New(a.root))
}

// interruptible lets Ctrl-C and SIGTERM cancel the command's context.
func interruptible(run func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
		defer stop()
		cmd.SetContext(ctx)
		return run(cmd, args)
	}
}
