package hostnet

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// CheckTAP tells whether the host has a TAP device of this name.
func CheckTAP(name string) error {
	if name == "" || len(name) >= unix.IFNAMSIZ || strings.ContainsAny(name, "/ \t\n") || name == "." || name == ".." {
		return fmt.Errorf("%q is no name of a network device", name)
	}
	// Documentation/ABI/testing/sysfs-class-net; the flags are those of TUNSETIFF.
	dir := "/sys/class/net/" + name
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("this host has no device %s: make it with ip tuntap add %[1]s mode tap", name)
	}
	text, err := os.ReadFile(dir + "/tun_flags")
	var flags int
	if err == nil {
		_, err = fmt.Sscanf(string(text), "0x%x", &flags)
	}
	if err != nil || flags&unix.IFF_TAP == 0 {
		return fmt.Errorf("%s is no TAP device", name)
	}
	return nil
}
