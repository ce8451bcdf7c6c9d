//go:build kvm

package kvm

import (
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
	"golang.org/x/sys/unix"
)

// These tests need a host with KVM (tag kvm). Their guest runs in 16-bit mode, as
// a processor starts.

const codeAt = 0x1000

// bare is a VM with one vCPU, about to run code.
func bare(t *testing.T, code []byte) (*VM, *VCPU) {
	t.Helper()
	sys, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sys.Close() }()
	vm, err := sys.CreateVM()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = vm.Close() })
	ram, err := unix.Mmap(-1, 0, 64<<10, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(ram) })
	copy(ram[codeAt:], code)
	cpu, err := vm.CreateVCPU(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cpu.Close() })
	s, err := cpu.Sregs()
	if err != nil {
		t.Fatal(err)
	}
	s.CS.Base, s.CS.Selector = 0, 0
	if err := errors.Join(vm.SetMemory(0, 0, ram), cpu.SetSregs(s), cpu.SetRegs(gokvm.Regs{RIP: codeAt, RAX: 0xab, RFLAGS: 2})); err != nil {
		t.Fatal(err)
	}
	return vm, cpu
}

// until runs the vCPU up to an exit, through the signals of the Go runtime, as vmm
// does.
func until(t *testing.T, cpu *VCPU, want Reason) {
	t.Helper()
	for run := cpu.RunHolding; ; run = cpu.Run {
		err := run()
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || cpu.Reason() != want {
			t.Fatalf("%v, %v, want %v", err, cpu.Reason(), want)
		}
		return
	}
}

func TestRun(t *testing.T) {
	_, cpu := bare(t, []byte{0xe6, 0x10, 0xe5, 0x20, 0xa2, 0x00, 0x20, 0xf4}) // out 0x10, al; in ax, 0x20; mov [0x2000], al; hlt
	until(t, cpu, ExitIO)
	if io := cpu.IO(); io.In || io.Port != 0x10 || io.Size != 1 || io.Count != 1 || len(io.Data) != 1 || io.Data[0] != 0xab {
		t.Errorf("out: %+v", io)
	}
	until(t, cpu, ExitIO)
	io := cpu.IO()
	if !io.In || io.Port != 0x20 || io.Size != 2 || len(io.Data) != 2 {
		t.Errorf("in: %+v", io)
	}
	copy(io.Data, "\xcd\xef")
	until(t, cpu, ExitHLT)
	if r, err := cpu.Regs(); err != nil || r.RAX != 0xefcd {
		t.Errorf("AX %#x, %v", r.RAX, err)
	}
}

func TestMMIO(t *testing.T) {
	// mov ax, 0xf000; mov ds, ax; mov [0x234], al; mov ax, [0x236]; hlt
	_, cpu := bare(t, []byte{0xb8, 0x00, 0xf0, 0x8e, 0xd8, 0xa2, 0x34, 0x02, 0xa1, 0x36, 0x02, 0xf4})
	until(t, cpu, ExitMMIO)
	if m := cpu.MMIO(); !m.Write || m.Addr != 0xf0234 || len(m.Data) != 1 || m.Data[0] != 0 {
		t.Errorf("write: %+v", m)
	}
	until(t, cpu, ExitMMIO)
	m := cpu.MMIO()
	if m.Write || m.Addr != 0xf0236 || len(m.Data) != 2 {
		t.Errorf("read: %+v", m)
	}
	copy(m.Data, "\x12\x34")
	until(t, cpu, ExitHLT)
	if r, err := cpu.Regs(); err != nil || r.RAX != 0x3412 {
		t.Errorf("AX %#x, %v", r.RAX, err)
	}
}

// TestImmediateExit: while it is set no Run enters the guest.
func TestImmediateExit(t *testing.T) {
	_, cpu := bare(t, []byte{0xeb, 0xfe})
	cpu.SetImmediateExit(true)
	for _, run := range []func() error{cpu.Run, cpu.RunHolding, cpu.Run, cpu.RunHolding} {
		if err := run(); !errors.Is(err, unix.EINTR) {
			t.Fatalf("Run: %v", err)
		}
	}
	if r, err := cpu.Regs(); err != nil || r.RIP != codeAt {
		t.Errorf("RIP %#x, %v", r.RIP, err)
	}
}

// TestHoldingStopsForTheWorld: a guest that never exits does not keep the Go runtime
// from stopping the world, as a collection does.
func TestHoldingStopsForTheWorld(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2)) // one is the vCPU's
	_, cpu := bare(t, []byte{0xeb, 0xfe})
	var over atomic.Bool
	interrupted := 0
	var vcpu sync.WaitGroup
	vcpu.Go(func() { // ends by over, at the next signal
		runtime.LockOSThread()
		for !over.Load() {
			if err := cpu.RunHolding(); !errors.Is(err, unix.EINTR) {
				t.Errorf("RunHolding: %v, reason %v", err, cpu.Reason())
				return
			}
			interrupted++
		}
	})
	for range 10 {
		runtime.GC()
	}
	over.Store(true)
	vcpu.Wait()
	if interrupted == 0 {
		t.Error("nothing interrupted the guest")
	}
}

// TestIOEventFD: the right value at the right place is counted without an exit,
// another is an exit.
func TestIOEventFD(t *testing.T) {
	// mov ax, 0xf000; mov ds, ax; mov word [0], 3; twice; mov word [0], 4; hlt
	three := []byte{0xc7, 0x06, 0, 0, 3, 0}
	program := append([]byte{0xb8, 0x00, 0xf0, 0x8e, 0xd8}, append(append(three, three...), 0xc7, 0x06, 0, 0, 4, 0, 0xf4)...)
	vm, cpu := bare(t, program)
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	e := os.NewFile(uintptr(fd), "eventfd")
	defer e.Close()
	if err := vm.IOEventFD(0xf0000, 2, 3, e); err != nil {
		t.Fatal(err)
	}
	until(t, cpu, ExitMMIO)
	if m := cpu.MMIO(); m.Addr != 0xf0000 || m.Data[0] != 4 {
		t.Errorf("%+v", m)
	}
	var count [8]byte
	if _, err := e.Read(count[:]); err != nil || binary.NativeEndian.Uint64(count[:]) != 2 {
		t.Errorf("%d kicks, %v", count, err)
	}
	if err := vm.IOEventFD(0xf0000, 2, 3, e); !errors.Is(err, unix.EEXIST) {
		t.Errorf("the same again: %v", err)
	}
}

// TestTranslate without paging: addresses are what they are.
func TestTranslate(t *testing.T) {
	_, cpu := bare(t, nil)
	if gpa, ok := cpu.Translate(0x1234); !ok || gpa != 0x1234 {
		t.Errorf("%#x, %v", gpa, ok)
	}
}

// TestErrorsNameTheCall: what fails says which call it was and on what.
func TestErrorsNameTheCall(t *testing.T) {
	vm, _ := bare(t, nil)
	_, again := vm.CreateVCPU(0)
	for want, err := range map[string]error{
		"KVM_CREATE_VCPU 0: file exists":                                     again,
		"KVM_ENABLE_CAP 121: file exists":                                    vm.SplitIRQChip(), // a vCPU is there
		"KVM_SET_USER_MEMORY_REGION of 5 bytes at 0x10001: invalid argument": vm.SetMemory(1, 0x10001, make([]byte, 5)),
		"KVM_SIGNAL_MSI 0x4030 to 0xfee00000: invalid argument":              vm.SignalMSI(0xfee0_0000, 0x4030), // it has no local APIC
		"KVM_IOEVENTFD at 0xf0000: use of closed file":                       vm.IOEventFD(0xf0000, 2, 0, closed(t)),
	} {
		if err == nil || err.Error() != want {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func closed(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	return f
}
