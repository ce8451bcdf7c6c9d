// Package boot makes a machine's memory and registers what Linux expects at its
// 64-bit entry point (Documentation/arch/x86/boot.rst, "64-bit boot protocol"):
// the kernel, the initramfs, the command line, the zero page, an MP table, page
// tables. It works on bytes and values alone and knows nothing of KVM's calls.
//
// What lies where in guest-physical memory below 1 MiB:
//
//	0x000500  GDT
//	0x007000  zero page (struct boot_params)
//	0x008000  top of the boot stack
//	0x009000  page tables: PML4, PDPT, then one page directory for each GiB
//	0x020000  command line
//	0x090000  MP table
//	0x09fc00  MP floating pointer; end of usable low memory
//	0x100000  RAM again: the kernel where it asks to be, the initramfs at the end
package boot

import (
	"errors"
	"fmt"
	"io"
)

const (
	gdtAddr      = 0x500
	zeroPageAddr = 0x7000
	stackAddr    = 0x8000
	pml4Addr     = 0x9000
	pdptAddr     = 0xa000
	pdAddr       = 0xb000
	cmdlineAddr  = 0x20000
	mpTableAddr  = 0x90000
	mpFloatAddr  = 0x9fc00
	lowEnd       = mpFloatAddr
	highStart    = 0x100000

	pageSize = 4096
	hugePage = 2 << 20
	// mappedGiB is how much the boot page tables map: all that RAM below the
	// hole can hold.
	mappedGiB = 4
	// cmdlineMax is the kernel's COMMAND_LINE_SIZE with its final zero.
	cmdlineMax = 2048
)

// Memory is guest RAM by guest-physical address.
type Memory interface {
	Slice(gpa uint64, n int) ([]byte, error)
}

// File is a kernel or an initramfs.
type File interface {
	io.ReaderAt
	Size() int64
}

// Range is a stretch of RAM, for the memory map the kernel is given.
type Range struct {
	GPA, Size uint64
}

// Config says what to boot.
type Config struct {
	Kernel File // ELF vmlinux or bzImage
	Initrd File // nil for none
	// Map, if set, lays size bytes of Kernel from off on, a whole page, at gpa, whole
	// huge pages or nothing, copy on write: it is used for what the kernel only reads.
	Map func(gpa uint64, off int64, size int) error
	// Cmdline is the kernel's command line.
	Cmdline string
	VCPUs   int
	// Lines is how many interrupt lines there are, all of them the I/O APIC's.
	Lines int
	// RAM is what memory there is, the stretch at 0 first.
	RAM []Range
}

// ErrNoKernel means that a file is neither an ELF vmlinux nor a bzImage for
// x86-64.
var ErrNoKernel = errors.New("not a kernel for x86-64 (an ELF vmlinux or a bzImage is needed)")

// Load lays everything in mem and returns the address the first vCPU starts at.
func Load(mem Memory, cfg Config) (entry uint64, err error) {
	img, err := parseKernel(cfg.Kernel)
	if err != nil {
		return 0, err
	}
	low := cfg.RAM[0].Size // RAM at 0 ends here
	if img.end > low {
		return 0, fmt.Errorf("the kernel needs %d MiB of memory, the machine has %d MiB", toMiB(img.end), low>>20)
	}
	if err := img.load(mem, cfg.Map); err != nil {
		return 0, err
	}
	z := zeroPage{header: img.header, ram: cfg.RAM}
	if cfg.Initrd != nil {
		if z.initrd, z.initrdSize, err = loadInitrd(mem, cfg.Initrd, img, low); err != nil {
			return 0, err
		}
	}
	if err := writeCmdline(mem, cfg.Cmdline, img.cmdlineMax); err != nil {
		return 0, err
	}
	z.cmdlineSize = uint32(len(cfg.Cmdline))
	for _, w := range []func(Memory) error{z.write, pageTables, gdt, mpTable{cfg.VCPUs, cfg.Lines}.write} {
		if err := w(mem); err != nil {
			return 0, err
		}
	}
	return img.entry, nil
}

// loadInitrd puts the initramfs at the end of low RAM, where the kernel frees
// its pages in one piece.
func loadInitrd(mem Memory, f File, img *image, low uint64) (gpa, size uint64, err error) {
	if f.Size() <= 0 {
		return 0, 0, errors.New("the initramfs is empty")
	}
	size = uint64(f.Size())
	limit := min(low, img.initrdMax)
	if size > limit || (limit-size)&^(pageSize-1) < img.end {
		return 0, 0, fmt.Errorf("kernel and initramfs need %d MiB of memory, the machine has %d MiB",
			toMiB(img.end+size), low>>20)
	}
	gpa = (limit - size) &^ (pageSize - 1)
	return gpa, size, readInto(mem, gpa, f, 0, size, "initramfs")
}

// readInto copies size bytes of f from off on to gpa.
func readInto(mem Memory, gpa uint64, f io.ReaderAt, off int64, size uint64, what string) error {
	b, err := mem.Slice(gpa, int(size))
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if n, err := f.ReadAt(b, off); n < len(b) {
		return fmt.Errorf("read the %s: %d of %d bytes: %w", what, n, len(b), err)
	}
	return nil
}

func writeCmdline(mem Memory, s string, limit int) error {
	if len(s) >= limit {
		return fmt.Errorf("the kernel's command line is %d bytes long, at most %d fit", len(s), limit-1)
	}
	b, err := mem.Slice(cmdlineAddr, len(s)+1)
	if err != nil {
		return err
	}
	b[copy(b, s)] = 0
	return nil
}

// toMiB rounds up.
func toMiB(n uint64) uint64 { return (n + 1<<20 - 1) >> 20 }
