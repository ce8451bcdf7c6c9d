package main

import (
	"fmt"
	"os"
	"runtime"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/internal/container"
	"github.com/mvm-project/mvm/kernel"
	"github.com/mvm-project/mvm/vmm/pvm"
)

func (a *app) infoCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "info",
		Short: "Show what mvm has here, and what it runs on",
		Long: `Show what mvm has here, and what it runs on. Whether containers can run is for
mvm doctor to say.`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			i, err := a.info()
			if err != nil {
				return err
			}
			if format != "" {
				return printFormat(cmd.OutOrStdout(), format, []info{i})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Containers: %d\n Running: %d\n Paused: %d\n Stopped: %d\nImages: %d\nServer Version: %s\nRoot Dir: %s\n"+
				"Guest Kernel: %s (%s)\nKernel Version: %s\nArchitecture: %s\nCPUs: %d\nTotal Memory: %s\n",
				i.Containers, i.ContainersRunning, i.ContainersPaused, i.ContainersStopped, i.Images, i.ServerVersion, i.DockerRootDir,
				i.GuestKernelVersion, i.GuestKernelFlavour, i.KernelVersion, i.Architecture, i.NCPU, units.BytesSize(float64(i.MemTotal)))
			return nil
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", "print by this Go `TEMPLATE`, or json")
	return cmd
}

// info has docker's names, as far as they mean the same.
type info struct {
	Containers, ContainersRunning, ContainersPaused, ContainersStopped, Images int

	ServerVersion, DockerRootDir           string
	GuestKernelVersion, GuestKernelFlavour string

	KernelVersion, Architecture, Name string
	NCPU                              int
	MemTotal                          int64
}

func (a *app) info() (info, error) {
	i := info{ServerVersion: readVersion().Version, DockerRootDir: a.root, Architecture: "x86_64", NCPU: runtime.NumCPU()}
	s, err := a.containers()
	if err != nil {
		return i, err
	}
	list, err := s.List()
	if err != nil {
		return i, err
	}
	for _, c := range list {
		i.Containers++
		switch {
		case c.Status == container.Paused:
			i.ContainersPaused++
		case c.Up():
			i.ContainersRunning++
		default:
			i.ContainersStopped++
		}
	}
	store, err := a.images()
	if err != nil {
		return i, err
	}
	all, err := store.List()
	if err != nil {
		return i, err
	}
	i.Images = len(all)
	return i, i.host(a.root)
}

// host fills in what is the machine's.
func (i *info) host(root string) error {
	interpreted, err := pvm.Detect(os.DirFS("/sys"))
	if err != nil {
		return err
	}
	k, err := kernel.Open(root, flavour(interpreted))
	if err != nil {
		return err
	}
	i.GuestKernelVersion, i.GuestKernelFlavour = k.Version, k.Flavour
	var uts unix.Utsname
	var mem unix.Sysinfo_t
	if err := unix.Uname(&uts); err != nil {
		return err
	}
	if err := unix.Sysinfo(&mem); err != nil {
		return err
	}
	i.KernelVersion, i.Name = unix.ByteSliceToString(uts.Release[:]), unix.ByteSliceToString(uts.Nodename[:])
	i.MemTotal = int64(mem.Totalram) * int64(mem.Unit)
	return nil
}
