package bridge

import (
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestProbe: it leaves the host as it was, whatever it finds.
func TestProbe(t *testing.T) {
	ownNetwork(t)
	if err := Probe(); err != nil {
		t.Errorf("a host that can: %v", err)
	}
	if links, err := netlink.LinkList(); err != nil || len(links) != 1 {
		t.Errorf("the host has %v, %v", links, err)
	}
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward"); err != nil || strings.TrimSpace(string(text)) != "0" {
		t.Errorf("the host forwards: %q, %v", text, err)
	}
}

func TestExplain(t *testing.T) {
	for err, want := range map[error]string{
		unix.EPERM:      "only root may: use --network user",
		unix.EOPNOTSUPP: "nf_tables",
		unix.ENODEV:     "no such device",
	} {
		if got := explain(err).Error(); !strings.Contains(got, want) {
			t.Errorf("%v: %s", err, got)
		}
	}
}
