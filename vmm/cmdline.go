package vmm

import (
	"fmt"
	"strings"
)

// baseArgs gives the words of every guest's command line that follow the log
// level (docs/boot.md says why each is there). The serial port is an early
// console only: nothing probes it, and nothing is printed before a panic.
func baseArgs() []string {
	return []string{
		"reboot=k", "panic=-1", "keep_bootcon", "earlycon=uart8250,io,0x3f8",
		"8250.nr_uarts=0", "no_timer_check", "noreplace-smp", "rootfstype=ramfs",
	}
}

// cmdline is the kernel's command line: ours, the devices', then the user's, of
// which the kernel lets a later word win.
func cmdline(cfg Config, devices int) string {
	// The log level comes first: earlycon prints what has gathered at the level
	// that holds when its word is met.
	words := []string{"quiet", "loglevel=3"}
	if cfg.Verbose {
		words = []string{"loglevel=7"}
	}
	words = append(words, baseArgs()...)
	for i := range devices {
		d := slotOf(i)
		words = append(words, fmt.Sprintf("virtio_mmio.device=4K@%#x:%d", d.addr, d.gsi))
	}
	return strings.Join(append(words, cfg.Args...), " ")
}
