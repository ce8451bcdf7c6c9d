// Command bench measures mvm beside QEMU's microvm machine on one host, with the
// same kernel and initramfs, in turns in one run, and prints medians and ratios.
// Machines are shared and noisy: only figures of one run compare, and no test
// depends on any. docs/bench.md tells the method and keeps results.
//
//	bench [-rounds N] [-qemu qemu-system-x86_64] [-memory MiB] [-json]
//	bench draw <RESULTS.json >TIMELINE.svg
//
// It expects mvm and mvm-vmm beside itself; QEMU's firmware may be there too.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 5, "rounds of each measurement")
	flag.StringVar(&o.qemu, "qemu", "qemu-system-x86_64", "the QEMU to compare with")
	flag.IntVar(&o.memory, "memory", 128, "guest memory in MiB")
	asJSON := flag.Bool("json", false, "print JSON")
	flag.Parse()
	switch flag.Arg(0) {
	case "vm": // the child of vmmBoot
		fail(runVM(flag.Args()[1:]))
		return
	case "draw":
		var r report
		fail(json.NewDecoder(os.Stdin).Decode(&r))
		r.draw(os.Stdout)
		return
	}
	self, err := os.Executable()
	fail(err)
	o.bin = filepath.Dir(self)
	r, err := measure(o)
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
