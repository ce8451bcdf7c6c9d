package main

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/internal/launch"
)

// Where PID 1 puts things; a container sees none of it.
const (
	runDir        = "/run"
	cgroupDir     = runDir + "/cgroup"     // the unified hierarchy
	procDir       = "/proc"                // of the machine's PID namespace
	containersDir = runDir + "/containers" // a folder for each
)

// mountEarly makes what PID 1 itself needs: device nodes, and a place for mounts.
func mountEarly() error {
	return launch.MountAll([]launch.Mount{
		{Source: "dev", Target: "/dev", FSType: "devtmpfs", Flags: unix.MS_NOSUID, Data: "mode=0755"},
		{Source: "run", Target: runDir, FSType: "tmpfs", Flags: unix.MS_NOSUID | unix.MS_NODEV, Data: "mode=0755"},
	})
}

// raiseFiles lets PID 1, and what it starts, have more files open than the kernel
// gives its first process.
func raiseFiles() error {
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: launch.HardFiles, Max: launch.HardFiles}); err != nil {
		return fmt.Errorf("raise the limit of open files: %w", err)
	}
	return nil
}

// loopbackUp sets the loopback interface up.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
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
	defer func() { _ = f.Close() }()
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
