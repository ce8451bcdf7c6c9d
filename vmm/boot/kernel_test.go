package boot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/mvm-project/mvm/vmm/memory"
)

// phdr is a program header of an ELF file under test.
type phdr struct {
	kind              uint32
	off, gpa          uint64
	fileSize, memSize uint64
}

// elfFile is an x86-64 executable of the given size.
func elfFile(size int, entry uint64, phdrs ...phdr) []byte {
	le := binary.LittleEndian
	b := make([]byte, elfHeaderSize)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[elfType:], elfTypeExec)
	le.PutUint16(b[elfMachine:], elfMachineX86)
	le.PutUint64(b[elfEntry:], entry)
	le.PutUint64(b[elfPhoff:], elfHeaderSize)
	le.PutUint16(b[elfPhentsize:], elfPhdrSize)
	le.PutUint16(b[elfPhnum:], uint16(len(phdrs)))
	for _, p := range phdrs {
		h := make([]byte, elfPhdrSize)
		le.PutUint32(h, p.kind)
		le.PutUint64(h[8:], p.off)
		le.PutUint64(h[16:], 0xffff_ffff_8000_0000+p.gpa) // virtual: of no interest
		le.PutUint64(h[24:], p.gpa)
		le.PutUint64(h[32:], p.fileSize)
		le.PutUint64(h[40:], p.memSize)
		b = append(b, h...)
	}
	for len(b) < size { // what is loaded can be told by its place
		b = append(b, byte(len(b)))
	}
	return b
}

// bzFile is a bzImage of the given size with one sector of setup.
func bzFile(size int) []byte {
	le := binary.LittleEndian
	b := make([]byte, size)
	for i := 2 * sector; i < len(b); i++ {
		b[i] = byte(i)
	}
	b[hdrSetupSects] = 1
	le.PutUint16(b[hdrBootFlag:], bootFlag)
	b[hdrJump], b[hdrJump+1] = 0xeb, 0x66
	copy(b[hdrMagic:], headerMagic)
	le.PutUint16(b[hdrVersion:], 0x20f)
	le.PutUint32(b[hdrInitrdAddrMax:], 0x7fff_ffff)
	le.PutUint16(b[hdrXloadflags:], xlfKernel64)
	le.PutUint32(b[hdrCmdlineSize:], 2047)
	le.PutUint64(b[hdrPrefAddress:], 2<<20)
	le.PutUint32(b[hdrInitSize:], 1<<20)
	return b
}

// with is b with an integer of v's size put at off.
func with(b []byte, off int, v any) []byte {
	if _, err := binary.Encode(b[off:], binary.LittleEndian, v); err != nil {
		panic(err)
	}
	return b
}

// ram is so many bytes of guest memory, and the map of it.
func ram(t testing.TB, size int64) (*memory.RAM, []Range) {
	t.Helper()
	m, err := memory.New(size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	var ranges []Range
	for _, r := range m.Regions() {
		ranges = append(ranges, Range{GPA: r.GPA, Size: uint64(len(r.Data))})
	}
	return m, ranges
}

// hostile is a file of any kind and what Load has to say of it.
type hostile struct {
	name, want string
	file       []byte
}

func TestLoadRefusesELF(t *testing.T) {
	good := phdr{elfLoad, 0x1000, 1 << 20, 0x1000, 0x1000}
	file := func(p ...phdr) []byte { return elfFile(0x3000, 1<<20, append([]phdr{good}, p...)...) }
	refuses(t, []hostile{
		{"magic alone", ErrNoKernel.Error(), []byte("\x7fELF")},
		{"32-bit", ErrNoKernel.Error(), with(file(), elfClass, byte(1))},
		{"big-endian", ErrNoKernel.Error(), with(file(), elfData, byte(2))},
		{"shared object", ErrNoKernel.Error(), with(file(), elfType, uint16(3))},
		{"arm64", ErrNoKernel.Error(), with(file(), elfMachine, uint16(183))},
		{"no program headers", "0 program headers", with(file(), elfPhnum, uint16(0))},
		{"too many program headers", "65 program headers", with(file(), elfPhnum, uint16(65))},
		{"program headers of another size", "program headers", with(file(), elfPhentsize, uint16(32))},
		{"program headers past the end", "program headers", with(file(), elfPhoff, uint64(0x3001))},
		{"program headers far past the end", "program headers", with(file(), elfPhoff, uint64(math.MaxUint64))},
		{"program headers cut short", "cut short in its program headers", with(file(), elfPhoff, uint64(0x3000-elfPhdrSize+1))},
		{"no segment", "entry point 0x100000 lies outside", elfFile(0x3000, 1<<20, phdr{kind: 4})},
		{"segment past the end of the file", "cut short", file(phdr{elfLoad, 0x2000, 2 << 20, 0x1001, 0x1001})},
		{"segment far past the end of the file", "cut short", file(phdr{elfLoad, math.MaxUint64, 2 << 20, 2, 2})},
		{"segment whose end wraps", "cut short", file(phdr{elfLoad, 0x1000, 2 << 20, math.MaxUint64, math.MaxUint64})},
		{"segment larger in the file than in memory", "at 0x200000", file(phdr{elfLoad, 0x1000, 2 << 20, 0x1000, 0xfff})},
		{"segment over the zero page", "at 0x7000", file(phdr{elfLoad, 0x1000, zeroPageAddr, 0x1000, 0x1000})},
		{"segment that ends in the kernel", "at 0xfffff", file(phdr{elfLoad, 0x1000, highStart - 1, 0x1000, 0x1000})},
		{"segment at 4 GiB", "at 0x100000000", file(phdr{elfLoad, 0x1000, 1 << 32, 0x1000, 0x1000})},
		{"segment whose address wraps", "at 0xfffffffffffff000", file(phdr{elfLoad, 0x1000, math.MaxUint64 - 0xfff, 0x1000, 0x2000})},
		{"segment that ends past RAM", "needs 17 MiB of memory, the machine has 16 MiB", file(phdr{elfLoad, 0x1000, 15 << 20, 0x1000, 1<<20 + 1})},
		{"huge zeroes", "needs 4097 MiB of memory", elfFile(0x3000, 1<<20, phdr{elfLoad, 0x1000, 1 << 20, 0x1000, math.MaxUint32})},
		{"segment over another", "lies over another", file(phdr{elfLoad, 0x1000, 1<<20 + 0xfff, 0x1000, 0x1000})},
		{"segment over another's zeroes", "lies over another", elfFile(0x3000, 1<<20,
			phdr{elfLoad, 0x1000, 1 << 20, 0x1000, 0x2000}, phdr{elfLoad, 0x1000, 1<<20 + 0x1000, 0x1000, 0x1000})},
		{"zeroes over a segment", "lies over another", file(phdr{elfLoad, 0, 1<<20 + 0x800, 0, 0x100})},
		{"entry below the kernel", "entry point 0xfffff lies outside", with(file(), elfEntry, uint64(highStart-1))},
		{"entry behind the kernel", "entry point 0x101000 lies outside", with(file(), elfEntry, uint64(1<<20+0x1000))},
		{"entry in zeroes", "entry point 0x200000 lies outside", with(file(phdr{elfLoad, 0, 2 << 20, 0, 0x1000}), elfEntry, uint64(2<<20))},
		{"entry between segments", "entry point 0x180000 lies outside", with(file(phdr{elfLoad, 0x1000, 2 << 20, 0x1000, 0x1000}), elfEntry, uint64(3<<19))},
	})
}

func TestLoadRefusesBzImage(t *testing.T) {
	refuses(t, []hostile{
		{"header cut short", ErrNoKernel.Error(), bzFile(0x8000)[:hdrEnd-1]},
		{"nothing behind the setup", "cut short: 1024 bytes", bzFile(2 * sector)},
		{"setup past the end", "cut short: 32768 bytes", with(bzFile(0x8000), hdrSetupSects, byte(255))},
		{"setup of no sectors means 4", "cut short: 2560 bytes", with(bzFile(5*sector), hdrSetupSects, byte(0))},
		{"no boot flag", ErrNoKernel.Error(), with(bzFile(0x8000), hdrBootFlag, uint16(0))},
		{"no magic", ErrNoKernel.Error(), with(bzFile(0x8000), hdrMagic, byte('h'))},
		{"protocol 2.11", "boot protocol 2.11 without", with(bzFile(0x8000), hdrVersion, uint16(0x20b))},
		{"32-bit", "boot protocol 2.15 without a 64-bit entry", with(bzFile(0x8000), hdrXloadflags, uint16(0))},
		{"over the boot structures", "preferred address 0xff000", with(bzFile(0x8000), hdrPrefAddress, uint64(highStart-0x1000))},
		{"above 4 GiB", "preferred address 0x100000000", with(bzFile(0x8000), hdrPrefAddress, uint64(1<<32))},
		{"address that wraps", "preferred address 0xffffffffffff0000", with(bzFile(0x8000), hdrPrefAddress, uint64(math.MaxUint64-0xffff))},
		{"no room for itself", "in 31743", with(bzFile(0x8000), hdrInitSize, uint32(0x8000-2*sector-1))},
		{"more room than RAM", "needs 4098 MiB of memory", with(bzFile(0x8000), hdrInitSize, uint32(math.MaxUint32))},
	})
}

func TestLoadRefusesWhatIsNoKernel(t *testing.T) {
	refuses(t, []hostile{
		{"nothing", ErrNoKernel.Error(), nil},
		{"text", ErrNoKernel.Error(), []byte("This is no kernel.\n")},
		{"zeroes", ErrNoKernel.Error(), make([]byte, 1<<20)},
	})
}

// refuses checks that Load says what it should of each file, and leaves memory as
// it was.
func refuses(t *testing.T, cases []hostile) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			mem, ranges := ram(t, 16<<20)
			_, err := Load(mem, Config{Kernel: bytes.NewReader(c.file), VCPUs: 1, RAM: ranges})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
			if all, _ := mem.Slice(0, 16<<20); len(bytes.Trim(all, "\x00")) != 0 {
				t.Error("memory was written")
			}
		})
	}
}

func TestLoadELF(t *testing.T) {
	file := elfFile(0x4000, 1<<20+0x10,
		phdr{elfLoad, 0x1000, 1 << 20, 0x1000, 0x2000},
		phdr{4, 0, 0, math.MaxUint64, 0}, // PT_NOTE: of no interest
		phdr{elfLoad, 0x3001, 3<<20 + 5, 0xffe, 0xffe},
		phdr{elfLoad, 0, 4 << 20, 0, 1 << 20},
	)
	mem, ranges := ram(t, 16<<20)
	entry, err := Load(mem, Config{Kernel: bytes.NewReader(file), VCPUs: 1, RAM: ranges})
	if err != nil || entry != 1<<20+0x10 {
		t.Fatalf("entry %#x, %v", entry, err)
	}
	loaded(t, mem, 1<<20, file[0x1000:0x2000])
	loaded(t, mem, 1<<20+0x1000, make([]byte, 0x1000))
	loaded(t, mem, 3<<20+5, file[0x3001:0x3fff])
}

// TestLoadMaps: whole huge pages of what the kernel does not write are mapped, the
// rest is read.
func TestLoadMaps(t *testing.T) {
	const size = hugePage + 0x234
	segments := []phdr{
		{elfLoad, 0x1000, hugePage, size, size},
		{elfLoad, 0x1000, 3 * hugePage, size, size}, // written
		{elfLoad, 0x1000, 5*hugePage + 0x1000, size, size},
		{elfLoad, 0x1001, 7 * hugePage, size, size},
		{elfLoad, 0x1000, 9 * hugePage, 0x1000, 0x1000},
	}
	file := elfFile(0x1001+size, hugePage, segments...)
	file = with(file, elfHeaderSize+elfPhdrSize+4, uint32(elfFlagWrite))
	mem, ranges := ram(t, 32<<20)
	type mapped struct {
		gpa  uint64
		off  int64
		size int
	}
	var maps []mapped
	cfg := Config{Kernel: bytes.NewReader(file), VCPUs: 1, RAM: ranges}
	cfg.Map = func(gpa uint64, off int64, size int) error {
		if size > 0 {
			maps = append(maps, mapped{gpa, off, size})
		}
		return nil
	}
	if _, err := Load(mem, cfg); err != nil {
		t.Fatal(err)
	}
	if want := []mapped{{hugePage, 0x1000, hugePage}}; !slices.Equal(maps, want) {
		t.Errorf("mapped %+v, want %+v", maps, want)
	}
	loaded(t, mem, hugePage, make([]byte, hugePage))
	loaded(t, mem, 2*hugePage, file[0x1000+hugePage:][:0x234])
	for _, s := range segments[1:] {
		loaded(t, mem, s.gpa, file[s.off:][:s.fileSize])
	}
	cfg.Map = func(uint64, int64, int) error { return errBroken }
	if _, err := Load(mem, cfg); !errors.Is(err, errBroken) {
		t.Errorf("got %v", err)
	}
}

func TestLoadBzImage(t *testing.T) {
	file := bzFile(0x8000)
	mem, ranges := ram(t, 16<<20)
	entry, err := Load(mem, Config{Kernel: bytes.NewReader(file), VCPUs: 1, RAM: ranges})
	if err != nil || entry != 2<<20+entry64Offset {
		t.Fatalf("entry %#x, %v", entry, err)
	}
	loaded(t, mem, 2<<20, file[2*sector:])
}

// TestSetupHeaderStaysInItsPlace: a setup header that claims to be longer than
// there is room for does not reach what follows it in the zero page.
func TestSetupHeaderStaysInItsPlace(t *testing.T) {
	file := with(bzFile(0x8000), hdrJump+1, byte(0xff))
	for i := hdrEnd; i < 2*sector; i++ {
		file[i] = 0xee
	}
	mem, ranges := ram(t, 16<<20)
	if _, err := Load(mem, Config{Kernel: bytes.NewReader(file), VCPUs: 1, RAM: ranges}); err != nil {
		t.Fatal(err)
	}
	loaded(t, mem, zeroPageAddr+hdrMax, make([]byte, zeroE820Table-hdrMax))
}

func loaded(t *testing.T, mem Memory, gpa uint64, want []byte) {
	t.Helper()
	got, err := mem.Slice(gpa, len(want))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("memory at %#x is not what was to be loaded (%v)", gpa, err)
	}
}

// broken is a file whose reads fail.
type broken struct{ File }

func (broken) ReadAt([]byte, int64) (int, error) { return 0, errBroken }

var errBroken = errors.New("disk on fire")

// halfway fails reads behind the headers.
type halfway struct{ File }

func (h halfway) ReadAt(p []byte, off int64) (int, error) {
	if off >= pageSize {
		return 0, errBroken
	}
	return h.File.ReadAt(p, off)
}

func TestLoadPassesReadErrorsOn(t *testing.T) {
	elf := bytes.NewReader(elfFile(0x3000, 1<<20, phdr{elfLoad, 0x1000, 1 << 20, 0x1000, 0x1000}))
	for name, cfg := range map[string]Config{
		"headers":   {Kernel: broken{elf}},
		"segment":   {Kernel: halfway{elf}},
		"initramfs": {Kernel: elf, Initrd: broken{elf}},
	} {
		t.Run(name, func(t *testing.T) {
			mem, ranges := ram(t, 16<<20)
			cfg.VCPUs, cfg.RAM = 1, ranges
			if _, err := Load(mem, cfg); !errors.Is(err, errBroken) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestInitramfs(t *testing.T) {
	elf := elfFile(0x3000, 1<<20, phdr{elfLoad, 0x1000, 1 << 20, 0x1000, 0x1000})
	for _, c := range []struct {
		size    int
		at      uint64 // 0: refused
		max     uint32 // initrd_addr_max of a bzImage, 0 for an ELF kernel
		memory  int64
		refusal string
	}{
		{size: 1, at: 16<<20 - 0x1000, memory: 16 << 20},
		{size: 0x1000, at: 16<<20 - 0x1000, memory: 16 << 20},
		{size: 0x1001, at: 16<<20 - 0x2000, memory: 16 << 20},
		{size: 15<<20 - 0x1000, at: 1<<20 + 0x1000, memory: 16 << 20},
		{size: 15<<20 - 0xfff, memory: 16 << 20, refusal: "kernel and initramfs need 17 MiB of memory, the machine has 16 MiB"},
		{size: 17 << 20, memory: 16 << 20, refusal: "need 19 MiB"},
		{size: 0, memory: 16 << 20, refusal: "the initramfs is empty"},
		{size: 0x1800, max: 8<<20 - 1, at: 8<<20 - 0x2000, memory: 16 << 20},
		{size: 0x1800, max: 100, memory: 16 << 20, refusal: "need 4 MiB"},
		{size: 0x1000, at: memory.HoleStart - 0x1000, memory: 5 << 30},
	} {
		t.Run(fmt.Sprint(c.size, c.max, c.memory), func(t *testing.T) {
			mem, ranges := ram(t, c.memory)
			kernel := elf
			if c.max != 0 {
				kernel = with(bzFile(0x8000), hdrInitrdAddrMax, c.max)
			}
			initrd := bytes.Repeat([]byte{0xa5}, c.size)
			_, err := Load(mem, Config{Kernel: bytes.NewReader(kernel), Initrd: bytes.NewReader(initrd), VCPUs: 1, RAM: ranges})
			if c.refusal != "" {
				if err == nil || !strings.Contains(err.Error(), c.refusal) {
					t.Errorf("got %v, want %q in it", err, c.refusal)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			loaded(t, mem, c.at, initrd)
			z, _ := mem.Slice(zeroPageAddr, pageSize)
			at, size := binary.LittleEndian.Uint32(z[hdrRamdiskImage:]), binary.LittleEndian.Uint32(z[hdrRamdiskSize:])
			if uint64(at) != c.at || int(size) != c.size {
				t.Errorf("the zero page has %d bytes at %#x, want %d at %#x", size, at, c.size, c.at)
			}
		})
	}
}
