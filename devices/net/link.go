package net

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Link is what carries an interface's frames: a file of which each read and write
// is one frame.
type Link struct {
	file *os.File
	raw  syscall.RawConn
	tap  bool
}

// FromFile returns a link over f, which it takes over: a non-blocking socket that
// keeps messages apart (SOCK_SEQPACKET or SOCK_DGRAM), each of them one frame.
func FromFile(f *os.File) (*Link, error) { return newLink(f, false) }

func newLink(f *os.File, tap bool) (*Link, error) {
	// A file that the poller does not know cannot be woken by Stop.
	if err := f.SetDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("network link %s: %w", f.Name(), err)
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("network link %s: %w", f.Name(), err)
	}
	return &Link{file: f, raw: raw, tap: tap}, nil
}

// FromTAP returns a link over f, which it takes over: non-blocking, and attached to
// a TAP device by MakeTAP.
func FromTAP(f *os.File) (*Link, error) { return newLink(f, true) }

// OpenTAP attaches to the TAP device called name, and makes one if there is none,
// which goes with the link.
func OpenTAP(name string) (*Link, error) {
	f, err := openTAP(name, 0)
	if err != nil {
		return nil, err
	}
	l, err := newLink(f, true)
	if err != nil {
		f.Close()
	}
	return l, err
}

// Exists says whether the host has a network interface of that name. Unlike package
// net's question, which is netlink's, this one takes a socket of any kind.
func Exists(name string) bool {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return false
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }()
	return unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr) == nil
}

// MakeTAP makes a TAP device, which goes when every copy of the file is closed. It
// fails if there is one of that name.
func MakeTAP(name string) (*os.File, error) { return openTAP(name, unix.IFF_TUN_EXCL) }

func openTAP(name string, flags uint16) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.EACCES):
		return nil, fmt.Errorf("open /dev/net/tun for TAP device %s: %w: run mvm as root, or use --network user", name, err)
	case err != nil:
		return nil, fmt.Errorf("open /dev/net/tun for TAP device %s (modprobe tun): %w", name, err)
	}
	if err := attach(fd, name, flags); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("TAP device %s: %w", name, err)
	}
	// Only now: the poller has no use for a file without its device.
	return os.NewFile(uintptr(fd), "tap:"+name), nil
}

func attach(fd int, name string, flags uint16) error {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	// Frames as they are, each behind the header that virtio uses too.
	ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR | flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, headerSize); err != nil {
		return fmt.Errorf("set the header's size: %w", err)
	}
	return nil
}

// Close closes the link. The device must be stopped.
func (l *Link) Close() error { return l.file.Close() }

// features are those that the link adds: what the host's network stack does with
// a TAP's frames.
func (l *Link) features() uint64 {
	if !l.tap {
		return 0
	}
	return featureCsum | featureHostTSO4 | featureHostTSO6 | featureHostECN |
		featureGuestCsum | featureGuestTSO4 | featureGuestTSO6 | featureGuestECN
}

// header is how many bytes there are before each frame.
func (l *Link) header() int {
	if l.tap {
		return headerSize
	}
	return 0
}

// start lets reads and writes wait again, and tells the host what the driver can
// take.
func (l *Link) start(features uint64) error {
	if err := l.file.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("network link: %w", err)
	}
	if !l.tap {
		return nil
	}
	flags := 0
	for _, f := range []struct {
		feature uint64
		flag    int
	}{
		{featureGuestCsum, unix.TUN_F_CSUM},
		{featureGuestTSO4, unix.TUN_F_TSO4},
		{featureGuestTSO6, unix.TUN_F_TSO6},
		{featureGuestECN, unix.TUN_F_TSO_ECN},
	} {
		if features&f.feature != 0 {
			flags |= f.flag
		}
	}
	var err error
	if e := l.raw.Control(func(fd uintptr) { err = unix.IoctlSetInt(int(fd), unix.TUNSETOFFLOAD, flags) }); e != nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("%s: set offloads %#x: %w", l.file.Name(), flags, err)
	}
	return nil
}

// stop ends reads and writes that wait, and those to come.
func (l *Link) stop() {
	_ = l.file.SetDeadline(time.Unix(1, 0)) // fails only if closed, which also ends them
}
