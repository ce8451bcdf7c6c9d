package doctor

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// enoughMemory is what a container gets by default, in MiB.
const enoughMemory = 256

func memory(proc fs.FS) Check {
	c := Check{Name: "memory", Level: Good}
	mib, err := available(proc)
	if err != nil {
		return Check{Name: "memory", Level: Weak, Found: "unknown", Advice: err.Error()}
	}
	c.Found = fmt.Sprintf("%d MiB available", mib)
	if mib < enoughMemory {
		c.Level, c.Advice = Weak, fmt.Sprintf("free some, or give containers less than %d MiB with --memory", enoughMemory)
	}
	return c
}

// available is MemAvailable of /proc/meminfo, in MiB.
func available(proc fs.FS) (int64, error) {
	f, err := proc.Open("meminfo")
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		name, value, _ := strings.Cut(sc.Text(), ":")
		if name == "MemAvailable" {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kib >> 10, err
		}
	}
	return 0, errors.New("/proc/meminfo has no MemAvailable")
}

// mke2fs looks for the program where exec.LookPath, or a test, finds programs.
func mke2fs(lookPath func(string) (string, error)) Check {
	for _, name := range []string{"/usr/sbin/mke2fs", "/sbin/mke2fs", "mke2fs"} {
		if path, err := lookPath(name); err == nil {
			return Check{Name: "mke2fs", Level: Good, Found: path}
		}
	}
	return Check{Name: "mke2fs", Level: Weak, Found: "missing", Advice: "install e2fsprogs: without it only --read-only containers run"}
}

const tunPath = "/dev/net/tun"

func openTUN() error {
	f, err := os.OpenFile(tunPath, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

// bridges judges whether there can be bridge networks.
func bridges(uid int, probe func() error) Check {
	c := Check{Name: "bridge networks", Level: Good, Found: "can be made"}
	if uid != 0 {
		c.Level, c.Found, c.Advice = Weak, "only root can make them", "run mvm as root for --network bridge: --network user needs no rights"
		return c
	}
	if err := probe(); err != nil {
		c.Level, c.Found = Weak, "cannot be made: "+err.Error()
		c.Advice = "load what is missing (modprobe -a tun bridge nf_tables nft_chain_nat nft_masq), or do without: --network user needs none of it"
	}
	return c
}

// tun judges what opening the TUN device gave.
func tun(err error) Check {
	c := Check{Name: tunPath, Level: Good, Found: "opens"}
	switch {
	case err == nil:
		return c
	case errors.Is(err, fs.ErrPermission):
		c.Advice = "only root can: run mvm as root for containers on a bridge of the host's"
	default:
		c.Advice = "load the module (modprobe tun): containers on a bridge of the host's need it"
	}
	c.Level, c.Found = Weak, "cannot be used: "+err.Error()
	return c
}
