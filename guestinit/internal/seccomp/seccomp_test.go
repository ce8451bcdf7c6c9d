package seccomp

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/proto"
)

// run is the kernel's machine, for what the filter uses of it. It returns the
// answer and how many steps it took.
func run(t *testing.T, p []unix.SockFilter, arch, nr, arg0 uint32) (answer uint32, steps int) {
	t.Helper()
	var a uint32
	for pc := 0; ; pc++ {
		steps++
		i := p[pc]
		jump := func(yes bool) {
			if yes {
				pc += int(i.Jt)
			} else {
				pc += int(i.Jf)
			}
		}
		switch i.Code {
		case load:
			a = map[uint32]uint32{offsetNumber: nr, offsetArch: arch, offsetArg0: arg0}[i.K]
		case ret:
			return i.K, steps
		case ifEqual:
			jump(a == i.K)
		case ifLeast:
			jump(a >= i.K)
		case ifBits:
			jump(a&i.K != 0)
		default:
			t.Fatalf("instruction %#x", i.Code)
		}
	}
}

const (
	eperm  = refuse | uint32(unix.EPERM)
	enosys = refuse | uint32(unix.ENOSYS)
)

func TestEveryNumber(t *testing.T) {
	p, err := Filter(proto.DefaultCapabilities())
	if err != nil {
		t.Fatal(err)
	}
	rules := refused()
	delete(rules, unix.SYS_CHROOT) // CAP_SYS_CHROOT is among the default ones
	for nr := range uint32(1024) {
		got, steps := run(t, p, auditArch, nr, 0)
		want := uint32(allow)
		if rule := rules[int(nr)]; len(rule) == 1 {
			want = rule[0].K
		}
		if got != want {
			t.Errorf("system call %d: %#x, want %#x", nr, got, want)
		}
		if steps > 20 {
			t.Errorf("system call %d: %d steps", nr, steps)
		}
	}
}

func TestArguments(t *testing.T) {
	p, err := Filter(nil)
	if err != nil {
		t.Fatal(err)
	}
	admin, err := Filter([]string{"CAP_SYS_ADMIN", "CAP_SYS_CHROOT"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		filter       []unix.SockFilter
		arch, nr, a0 uint32
		want         uint32
	}{
		{p, 0x40000003, 1, 0, killProcess}, // i386
		{p, auditArch, unix.SYS_READ, 0, allow},
		{p, auditArch, unix.SYS_CLONE, unix.CLONE_THREAD, allow},
		{p, auditArch, unix.SYS_CLONE, unix.CLONE_NEWUSER | unix.CLONE_THREAD, eperm},
		{admin, auditArch, unix.SYS_CLONE, unix.CLONE_NEWUSER, allow},
		{p, auditArch, unix.SYS_CLONE3, 0, enosys},
		{admin, auditArch, unix.SYS_CLONE3, 0, allow},
		{p, auditArch, unix.SYS_SOCKET, unix.AF_INET, allow},
		{p, auditArch, unix.SYS_SOCKET, unix.AF_VSOCK, eperm},
		{p, auditArch, unix.SYS_PERSONALITY, 0, allow},
		{p, auditArch, unix.SYS_PERSONALITY, 0xffffffff, allow},
		{p, auditArch, unix.SYS_PERSONALITY, 0x20008, allow},
		{p, auditArch, unix.SYS_PERSONALITY, 0x40000, eperm}, // ADDR_NO_RANDOMIZE
		{p, auditArch, unix.SYS_MOUNT, 0, eperm},
		{admin, auditArch, unix.SYS_MOUNT, 0, allow},
		{p, auditArch, unix.SYS_CHROOT, 0, eperm},
		{admin, auditArch, unix.SYS_CHROOT, 0, allow},
		{admin, auditArch, unix.SYS_KEXEC_LOAD, 0, eperm},
		{p, auditArch, 0x40000000 + unix.SYS_READ, 0, allow}, // x32: the kernel has none
	} {
		if got, _ := run(t, c.filter, c.arch, c.nr, c.a0); got != c.want {
			t.Errorf("system call %d (%#x): %#x, want %#x", c.nr, c.a0, got, c.want)
		}
	}
}

// TestMain makes this program, started again, one with a filter.
func TestMain(m *testing.M) {
	if os.Getenv("SECCOMP_TEST") != "" {
		os.Exit(filtered())
	}
	os.Exit(m.Run())
}

func filtered() int {
	runtime.LockOSThread()
	p, err := Filter(nil)
	if err != nil {
		return 2
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return 3
	}
	if err := set(p); err != nil {
		return 4
	}
	_, vsock := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0)
	fd, inet := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if !errors.Is(vsock, unix.EPERM) || inet != nil || unix.Close(fd) != nil || !errors.Is(unix.Unshare(unix.CLONE_NEWUSER), unix.EPERM) {
		return 5
	}
	return 0
}

// The kernel takes the filter, and does as it says.
func TestLoad(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "SECCOMP_TEST=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
