// Command bench measures mvm beside QEMU's microvm machine on one host, with the
// same kernel and initramfs, in turns in one run, and prints medians and ratios.
// Machines are shared and noisy: only figures of one run compare, and no test
// depends on any. docs/bench.md tells the method and keeps results.
//
//	bench [-rounds N] [-qemu qemu-system-x86_64] [-memory MiB] [-json] [boot] [guest] [rates] [io] [noise]
//	bench draw <RESULTS.json >PICTURE.svg
//
// It expects mvm, mvm-vmm and micro beside itself; QEMU's firmware may be there too.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/mvm-project/mvm/vmm/pvm"
)

func main() {
	var o options
	flag.IntVar(&o.Rounds, "rounds", 5, "rounds of each measurement")
	flag.StringVar(&o.QEMU, "qemu", "qemu-system-x86_64", "the QEMU to compare with; none if empty: boot and guest need none")
	flag.IntVar(&o.Memory, "memory", 128, "guest memory in MiB, for boots")
	asJSON := flag.Bool("json", false, "print JSON")
	flag.Parse()
	switch flag.Arg(0) {
	case "vm": // the child of onVMM
		fail(runVM(flag.Arg(1)))
		return
	case "inner": // the child of measureIO
		fail(innerIO(flag.Arg(1)))
		return
	case "draw":
		var r report
		fail(json.NewDecoder(os.Stdin).Decode(&r))
		r.draw(os.Stdout)
		return
	}
	self, err := os.Executable()
	fail(err)
	o.Bin = filepath.Dir(self)
	o.PVM, err = pvm.Detect(os.DirFS("/sys"))
	fail(err)
	r, err := measure(o, flag.Args())
	fail(err)
	if *asJSON {
		fail(json.NewEncoder(os.Stdout).Encode(r))
		return
	}
	r.print(os.Stdout)
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
