package vmm

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNICOpen: each VM has a copy of the descriptor it is given, which stays.
func TestNICOpen(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fds[1]) }()
	n := NIC{FD: fds[0]}
	for range 2 {
		link, err := n.open()
		if err != nil {
			t.Fatal(err)
		}
		if err := link.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := unix.Close(fds[0]); err != nil {
		t.Errorf("the descriptor went with a link: %v", err)
	}
	if _, err := n.open(); err == nil || !strings.Contains(err.Error(), "file descriptor") {
		t.Error(err)
	}
	if _, err := (NIC{TAP: "nosuch0"}).open(); err == nil || !strings.Contains(err.Error(), "ip tuntap add nosuch0 mode tap") {
		t.Error(err)
	}
}
