package main

import (
	"fmt"
	"io"
	"os"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/mvm-project/mvm/kernel"
	"github.com/mvm-project/mvm/vmm/pvm"
)

// kernelStatus is a kernel as mvm kernel shows it.
type kernelStatus struct {
	kernel.Info
	Used bool // by run, on this host
}

func (a *app) kernelCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "kernel",
		Short: "Show the guest kernels, and which one run uses",
		Long: `Show the guest kernels that are built into mvm, one for each kind of KVM host, and
which one run uses here unless it is given another (run --kernel). A kernel is
written to mvm's folder when it is first used or shown.`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := a.kernels()
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), all)
			}
			printKernels(cmd.OutOrStdout(), all)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printKernels(w io.Writer, all []kernelStatus) {
	for _, k := range all {
		use := ""
		if k.Used {
			use = ", used on this host"
		}
		fmt.Fprintf(w, "Linux %s, flavour %s, %s%s\n  sha256:%s\n  %s\n",
			k.Version, k.Flavour, units.HumanSize(float64(k.Size)), use, k.Digest, k.Path)
	}
}

// kernels are all that are built in. Where no VM can be made none is in use.
func (a *app) kernels() ([]kernelStatus, error) {
	interpreted, noKVM := pvm.Detect(os.DirFS("/sys")) // mvm doctor says what is the matter
	var all []kernelStatus
	for _, f := range kernel.Flavours() {
		k, err := kernel.Open(a.root, f)
		if err != nil {
			return nil, err
		}
		all = append(all, kernelStatus{Info: k, Used: noKVM == nil && f == flavour(interpreted)})
	}
	return all, nil
}

// flavour is the kernel's for a host: one with a kvm-pvm, or another.
func flavour(interpreted bool) string {
	if interpreted {
		return kernel.PVM
	}
	return kernel.KVM
}
