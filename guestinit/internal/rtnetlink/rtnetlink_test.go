package rtnetlink

import (
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/proto"
)

// alone runs a test's work in a network namespace with an interface eth0, a TAP
// device.
func alone(t *testing.T, work func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { // ends with work, and so does its thread
		defer close(done)
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("a network namespace (as root): %v", err)
			return
		}
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Errorf("open /dev/net/tun: %v", err)
			return
		}
		defer func() { _ = unix.Close(fd) }()
		ifr, err := unix.NewIfreq("eth0")
		if err != nil {
			t.Error(err)
			return
		}
		ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
			t.Errorf("a TAP device: %v", err)
			return
		}
		work()
	}()
	<-done
}

func TestSetUp(t *testing.T) {
	alone(t, func() {
		want := []string{"10.9.8.7/24", "fd00:9::7/64"}
		// The gateways are in no network of the interface's.
		i := proto.Interface{Name: "eth0", Gateways: []netip.Addr{netip.MustParseAddr("10.1.1.1"), netip.MustParseAddr("fd00:1::1")}}
		for _, a := range want {
			i.Addresses = append(i.Addresses, netip.MustParsePrefix(a))
		}
		for range 2 { // again is no error
			if err := SetUp(i); err != nil {
				t.Error(err)
				return
			}
		}
		eth0, err := net.InterfaceByName("eth0")
		if err != nil || eth0.Flags&net.FlagUp == 0 {
			t.Errorf("%+v, %v", eth0, err)
			return
		}
		addrs, err := eth0.Addrs()
		for _, w := range want {
			if err != nil || !slices.ContainsFunc(addrs, func(a net.Addr) bool { return a.String() == w }) {
				t.Errorf("addresses %v without %s, %v", addrs, w, err)
			}
		}
		for file, route := range map[string]string{
			"route": "eth0\t00000000\t0101010A\t0003", "ipv6_route": "fd000001000000000000000000000001",
		} {
			routes, err := os.ReadFile("/proc/thread-self/net/" + file)
			if err != nil || !strings.Contains(string(routes), route) {
				t.Errorf("%v: no default route in\n%s", err, routes)
			}
		}
	})
}

func TestSetUpRefuses(t *testing.T) {
	alone(t, func() {
		good := netip.MustParsePrefix("10.9.8.7/24")
		for _, test := range []struct {
			i    proto.Interface
			want string
		}{
			{proto.Interface{Name: "eth1"}, "virtio-net"},
			{proto.Interface{Name: strings.Repeat("x", 99)}, "interface"},
			// Of several messages the one that failed is named.
			{proto.Interface{
				Name: "eth0", Addresses: []netip.Prefix{good}, Gateways: []netip.Addr{good.Addr()},
			}, "default route by 10.9.8.7"},
		} {
			err := SetUp(test.i)
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), good.String()) {
				t.Errorf("%+v: %v, want %s", test.i, err, test.want)
			}
		}
	})
}
