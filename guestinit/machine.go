package main

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// mount is one call of mount(2).
type mount struct {
	source, target, fstype string
	flags                  uintptr
	data                   string
}

func (m mount) do() error {
	if err := unix.Mount(m.source, m.target, m.fstype, m.flags, m.data); err != nil {
		return fmt.Errorf("mount %s %s on %s: %w", m.fstype, m.source, m.target, err)
	}
	return nil
}

// mountAll makes each mount point and mounts on it.
func mountAll(mounts []mount) error {
	for _, m := range mounts {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := m.do(); err != nil {
			return err
		}
	}
	return nil
}

// mountEarly makes what PID 1 itself needs: device nodes, and a place for mounts.
func mountEarly() error {
	return mountAll([]mount{
		{"dev", "/dev", "devtmpfs", unix.MS_NOSUID, "mode=0755"},
		{"run", runDir, "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755"},
	})
}

// loopbackUp sets the loopback interface up.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("set the loopback interface up: %w", err)
	}
	return nil
}

// seedRandom mixes the host's entropy into the kernel's generator and credits it
// (random(4)).
func seedRandom(seed []byte) error {
	f, err := os.OpenFile("/dev/urandom", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(seed); err != nil {
		return fmt.Errorf("seed the random generator: %w", err)
	}
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.RNDADDTOENTCNT, 8*len(seed)); err != nil {
		return fmt.Errorf("credit entropy: %w", err)
	}
	return nil
}

// clockTolerance is how far the guest's clock may be from the host's: the
// paravirtual clock is exact, so it is only a guest without one that is set.
const clockTolerance = time.Second

// setClock sets the wall clock to ns nanoseconds since the epoch if it is off.
func setClock(ns int64) error {
	if d := time.Since(time.Unix(0, ns)); d.Abs() < clockTolerance {
		return nil
	}
	ts := unix.NsecToTimespec(ns)
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &ts); err != nil {
		return fmt.Errorf("set the clock: %w", err)
	}
	return nil
}
