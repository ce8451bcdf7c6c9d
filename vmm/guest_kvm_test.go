//go:build kvm

package vmm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// These tests need a host with KVM: they are behind the tag kvm, and the
// end-to-end suite runs them on every KVM host it has. Their guests are a few
// instructions each, in 64-bit mode as mvm starts a kernel.

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	guestBase   = 0x10_0000
	guestMemory = 16 << 20
	// patience bounds a guest that should end by itself.
	patience = time.Minute
)

// Instructions that several guests share.
var (
	spin       = []byte{0xeb, 0xfe}             // jmp .
	halt       = []byte{0xf4, 0xeb, 0xfd}       // hlt; jmp .-1
	resetGuest = []byte{0xb0, 0xfe, 0xe6, 0x64} // mov al, 0xfe; out 0x64, al
	aimMMIO    = []byte{0xbb, 0, 0, 0, 0xd0}    // mov ebx, 0xd0000000: the first virtio device
)

// code joins instructions.
func code(parts ...[]byte) []byte { return slices.Concat(parts...) }

// guest is a microVM of one vCPU whose kernel is program: an ELF file of one
// segment at guestBase, entered at its start.
func guest(t *testing.T, program []byte) Config {
	t.Helper()
	le := binary.LittleEndian
	b := make([]byte, 64+56)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 2)  // executable
	le.PutUint16(b[18:], 62) // x86-64
	le.PutUint64(b[24:], guestBase)
	le.PutUint64(b[32:], 64) // program headers
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 1)
	p := b[64:]
	le.PutUint32(p, 1) // PT_LOAD
	le.PutUint64(p[8:], uint64(len(b)))
	le.PutUint64(p[24:], guestBase)
	le.PutUint64(p[32:], uint64(len(program)))
	le.PutUint64(p[40:], uint64(len(program)))
	path := filepath.Join(t.TempDir(), "kernel")
	if err := os.WriteFile(path, append(b, program...), 0o600); err != nil {
		t.Fatal(err)
	}
	return Config{Kernel: path, VCPUs: 1, Memory: guestMemory}
}

// newVM puts a VM together, and closes it when the test ends.
func newVM(t *testing.T, cfg Config, console *bytes.Buffer) *VM {
	t.Helper()
	v, err := New(cfg, console)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

// run runs a guest that ends by itself, and returns how and what it printed.
func run(t *testing.T, cfg Config) (console string, end error) {
	t.Helper()
	var out bytes.Buffer
	v := newVM(t, cfg, &out)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	end = v.Run(ctx)
	return out.String(), end
}

func TestReset(t *testing.T) {
	if _, err := run(t, guest(t, code(resetGuest, spin))); !errors.Is(err, ErrReset) {
		t.Errorf("the guest ended with %v", err)
	}
}

func TestTripleFault(t *testing.T) {
	if _, err := run(t, guest(t, []byte{0x0f, 0x0b})); !errors.Is(err, ErrTripleFault) { // ud2, with an empty IDT
		t.Errorf("the guest ended with %v", err)
	}
}

// TestPortIO: bytes, and strings of several widths, reach the serial port; ports
// where nothing is read as ones.
func TestPortIO(t *testing.T) {
	program := code(
		[]byte{0x66, 0xba, 0xf8, 0x03},             // mov dx, 0x3f8
		[]byte{0x48, 0x8d, 0x35, 21, 0, 0, 0},      // lea rsi, [text]
		[]byte{0xb9, 5, 0, 0, 0},                   // mov ecx, 5
		[]byte{0xf3, 0x6e},                         // rep outsb
		[]byte{0xe4, 0x80},                         // in al, 0x80
		[]byte{0xee},                               // out dx, al
		resetGuest, spin, []byte{0x90, 0x90, 0x90}, // to the next dozen
		[]byte{0x90, 0x90},
		[]byte("hello"),
	)
	if got, err := run(t, guest(t, program)); !errors.Is(err, ErrReset) || got != "hello\xff" {
		t.Errorf("%v, console %q", err, got)
	}
}

// TestMMIO: a guest finds the first virtio device, and nothing behind the last.
func TestMMIO(t *testing.T) {
	program := code(
		[]byte{0x66, 0xba, 0xf8, 0x03}, // mov dx, 0x3f8
		aimMMIO,
		[]byte{0x8b, 0x03}, // mov eax, [rbx]
		[]byte{0xee},       // out dx, al
		[]byte{0xc1, 0xe8, 8, 0xee, 0xc1, 0xe8, 8, 0xee, 0xc1, 0xe8, 8, 0xee}, // shr eax, 8; out dx, al: three times
		[]byte{0x8a, 0x83, 0, 0, 1, 0},                                        // mov al, [rbx+0x10000]
		[]byte{0xee},
		[]byte{0xc7, 0x83, 0, 0, 1, 0, 1, 0, 0, 0}, // mov dword [rbx+0x10000], 1: lost
		resetGuest, spin,
	)
	if got, err := run(t, guest(t, program)); !errors.Is(err, ErrReset) || got != "virt\xff" {
		t.Errorf("%v, console %q", err, got)
	}
}

// TestInternalError: an instruction that KVM does not emulate, on an address that
// is no memory, ends the VM with all there is to know.
func TestInternalError(t *testing.T) {
	popcnt := []byte{0xf3, 0x0f, 0xb8, 0x03} // popcnt eax, [rbx]
	_, err := run(t, guest(t, code(aimMMIO, popcnt, spin)))
	var e *ExitError
	if !errors.As(err, &e) {
		t.Fatalf("the guest ended with %v", err)
	}
	if e.CPU != 0 || e.RIP != guestBase+uint64(len(aimMMIO)) || !bytes.HasPrefix(e.Bytes, code(popcnt, spin)) || len(e.Bytes) != instructionBytes {
		t.Errorf("%+v", e)
	}
	if want := "KVM_EXIT_INTERNAL_ERROR, suberror 1 (emulation)"; !bytes.HasPrefix([]byte(e.What), []byte(want)) {
		t.Errorf("%q does not begin with %q", e.What, want)
	}
}

// TestRunsIntoNothing: a guest that jumps to where no memory is gives RIP, and
// no instruction.
func TestRunsIntoNothing(t *testing.T) {
	_, err := run(t, guest(t, code(aimMMIO, []byte{0xff, 0xe3}))) // jmp rbx
	var e *ExitError
	if !errors.As(err, &e) || e.RIP != 0xd000_0000 || len(e.Bytes) != 0 {
		t.Errorf("the guest ended with %v", err)
	}
}

// TestMemoryFails: KVM_RUN itself fails when the host takes away what backs the
// guest's memory.
func TestMemoryFails(t *testing.T) {
	const hole = 8 << 20
	v := newVM(t, guest(t, code([]byte{0xa0, 0, 0, 0x80, 0, 0, 0, 0, 0}, spin)), nil) // mov al, [hole]
	page, err := v.mem.Slice(hole, os.Getpagesize())
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mprotect(page, unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var e *ExitError
	if err := v.Run(ctx); !errors.As(err, &e) || e.What != "KVM_RUN: bad address" || e.RIP != guestBase {
		t.Errorf("the guest ended with %v", err)
	}
}

// TestCancel: Run ends with the context's cause, whatever the guest is at.
func TestCancel(t *testing.T) {
	mmio := code(aimMMIO, []byte{0x8b, 0x03, 0xeb, 0xfc}) // mov eax, [rbx]; jmp .-2
	pio := []byte{0xe4, 0x80, 0xeb, 0xfc}                 // in al, 0x80; jmp .-2
	for name, program := range map[string][]byte{"spin": spin, "halt": halt, "mmio": mmio, "pio": pio} {
		t.Run(name, func(t *testing.T) {
			for i := range 20 {
				cfg := guest(t, program)
				cfg.VCPUs = 1 + i%3 // the others wait for their start
				v := newVM(t, cfg, nil)
				ctx, cancel := context.WithCancelCause(t.Context())
				cause := errors.New("enough")
				time.AfterFunc(time.Duration(i)*time.Millisecond/2, func() { cancel(cause) })
				if err := v.Run(ctx); !errors.Is(err, cause) {
					t.Fatalf("the guest ended with %v", err)
				}
			}
		})
	}
}

// TestCancelledBefore: a context that is done ends the VM as well.
func TestCancelledBefore(t *testing.T) {
	v := newVM(t, guest(t, halt), nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := v.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("the guest ended with %v", err)
	}
}

// TestSecondProcessor starts the second vCPU, as Linux does, with code that
// resets the machine; the first sleeps for good.
func TestSecondProcessor(t *testing.T) {
	const trampoline = 0x8000 // in 16-bit mode, at the page that the start message names
	var program []byte
	for i, b := range code(resetGuest, spin) { // mov byte [trampoline+i], b
		program = append(binary.LittleEndian.AppendUint32(append(program, 0xc6, 0x04, 0x25), uint32(trampoline+i)), b)
	}
	program = code(program,
		[]byte{0xb9, 0x1b, 0, 0, 0, 0x0f, 0x32},                      // mov ecx, IA32_APIC_BASE; rdmsr
		[]byte{0x0d, 0, 0x0c, 0, 0, 0x0f, 0x30},                      // or eax, 0xc00 (x2APIC); wrmsr
		[]byte{0xb9, 0x30, 8, 0, 0, 0xba, 1, 0, 0, 0},                // mov ecx, the command register; mov edx, APIC 1
		[]byte{0xb8, 0, 0x45, 0, 0, 0x0f, 0x30},                      // mov eax, INIT; wrmsr
		[]byte{0xb8, trampoline >> 12, 0x46, 0, 0, 0x0f, 0x30}, halt) // mov eax, SIPI; wrmsr
	cfg := guest(t, program)
	cfg.VCPUs = 2
	if _, err := run(t, cfg); !errors.Is(err, ErrReset) {
		t.Errorf("the guest ended with %v", err)
	}
}
