package bridge

import (
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	nic "github.com/mvm-project/mvm/devices/net"
	"github.com/mvm-project/mvm/internal/network"
)

// Attach implements container.Bridges. It makes a container's TAP device, on its network's bridge; the device goes
// when the last copy of tap is closed. questions is where mvm-netd sees and answers
// what the container asks the name server at the gateway's address: a socket of
// which each message is a frame of that device's.
func (Host) Attach(n network.Network, l network.Lease) (tap, questions *os.File, err error) {
	tap, err = nic.MakeTAP(l.Device)
	if err != nil {
		return nil, nil, fmt.Errorf("network %s: %w", n.Name, err)
	}
	link, err := enslave(n, l.Device)
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err == nil { // not before: a socket hears of a device that is down, and takes that for its end
		questions, err = listen(n, l, link.Attrs().Index)
	}
	if err != nil {
		tap.Close()
		questions.Close()
		return nil, nil, fmt.Errorf("network %s: TAP device %s: %w", n.Name, l.Device, explain(err))
	}
	return tap, questions, nil
}

// enslave puts a device on the bridge.
func enslave(n network.Network, device string) (netlink.Link, error) {
	br, err := find(n)
	if br == nil {
		return nil, errors.Join(err, fmt.Errorf("the bridge %s is gone", n.Bridge))
	}
	link, err := netlink.LinkByName(device)
	if err != nil {
		return nil, err
	}
	if err := quiet(device, false); err != nil {
		return nil, err
	}
	if err := netlink.LinkSetMaster(link, br); err != nil {
		return nil, err
	}
	return link, nil
}

// listen returns a packet socket (packet(7)), which sees frames before the bridge
// and its rules do: the host has no server on that port, and drops the questions.
func listen(n network.Network, l network.Lease, index int) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0) // hears nothing yet
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	filter, err := questionsTo(n, l)
	if err == nil {
		err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	}
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL), Ifindex: index})
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	return os.NewFile(uintptr(fd), "questions"), nil
}

func bigEndian(n uint16) uint16 { return n<<8 | n>>8 }

// questionsTo is a filter for packets from the container to the name server.
func questionsTo(n network.Network, l network.Lease) ([]unix.SockFilter, error) {
	guest, gateway := l.Addr.As4(), n.Gateway.As4()
	number := func(b [4]byte) uint32 { return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3]) }
	const ethernet = 14
	raw, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2}, // the frame's type
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.ETH_P_IP, SkipTrue: 12},
		bpf.LoadAbsolute{Off: ethernet + source4, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: number(guest), SkipTrue: 10},
		bpf.LoadAbsolute{Off: ethernet + destination4, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: number(gateway), SkipTrue: 8},
		bpf.LoadAbsolute{Off: ethernet + 6, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x3fff, SkipTrue: 6}, // fragments
		bpf.LoadAbsolute{Off: ethernet + 9, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_UDP, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_TCP, SkipTrue: 3},
		bpf.LoadMemShift{Off: ethernet}, // the header's length
		bpf.LoadIndirect{Off: ethernet + 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: dnsPort, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: 1 << 18}, // all of it
	})
	if err != nil {
		return nil, err
	}
	var filter []unix.SockFilter
	for _, i := range raw {
		filter = append(filter, unix.SockFilter{Code: i.Op, Jt: i.Jt, Jf: i.Jf, K: i.K})
	}
	return filter, nil
}
