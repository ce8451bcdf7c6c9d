package bridge

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/internal/hostnet"
	"github.com/mvm-project/mvm/internal/network"
)

// Probe says why this host can have no bridge networks: it makes one with a container
// on it, in a network namespace that is gone when it returns, or soon after.
func Probe() error {
	result := make(chan error, 1)
	go func() { // ends with the probe, and its thread and the namespace with it
		runtime.LockOSThread() // and not unlocked: nobody else is to have this thread
		result <- probe()
	}()
	return <-result
}

func probe() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("network namespace: %w", explain(err))
	}
	u := sample()
	h := Host{"mvm-probe"}
	if err := h.Apply([]network.Used{u}); err != nil {
		return err
	}
	tap, questions, err := h.Attach(u.Network, u.Leases[0])
	if err != nil {
		return err
	}
	return errors.Join(tap.Close(), questions.Close())
}

// sample is a network that needs all there is: with IPv6, and a port published.
func sample() network.Used {
	addr := netip.AddrFrom4([4]byte{10, 0, 0, 2})
	return network.Used{
		Network: network.Network{
			Name: "probe", Bridge: "mvm-probe", Subnet: netip.MustParsePrefix("10.0.0.0/24"), Gateway: addr.Prev(),
			Subnet6: netip.MustParsePrefix("fd00::/64"),
		},
		Leases: []network.Lease{{
			Name: "probe", Device: "mvm-probe0", MAC: hostnet.MACOf([6]byte{}), Addr: addr, Addr6: netip.MustParseAddr("fd00::a00:2"),
			Ports: []hostnet.Port{{Host: 80, Guest: 80, Count: 1}},
		}},
	}
}
