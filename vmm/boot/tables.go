package boot

import (
	"encoding/binary"
)

// zeroPage is what goes into struct boot_params
// (Documentation/arch/x86/zero-page.rst).
type zeroPage struct {
	header             []byte // a bzImage's setup header
	ram                []Range
	cmdlineSize        uint32
	initrd, initrdSize uint64
}

const (
	zeroE820Entries = 0x1e8
	zeroE820Table   = 0x2d0
	e820Size        = 20
	e820RAM         = 1

	loaderUndefined = 0xff // type_of_loader without a number of its own
	loadedHigh      = 1    // loadflags: the protected-mode code is at 1 MiB or above
)

func (z zeroPage) write(mem Memory) error {
	p, err := mem.Slice(zeroPageAddr, pageSize)
	if err != nil {
		return err
	}
	clear(p)
	le := binary.LittleEndian
	copy(p[hdrSetupSects:], z.header)
	le.PutUint16(p[hdrBootFlag:], bootFlag)
	copy(p[hdrMagic:], headerMagic)
	p[hdrTypeOfLoader] = loaderUndefined
	p[hdrLoadflags] |= loadedHigh
	le.PutUint32(p[hdrCmdLinePtr:], cmdlineAddr)
	le.PutUint32(p[hdrCmdlineSize:], z.cmdlineSize)
	le.PutUint32(p[hdrRamdiskImage:], uint32(z.initrd))
	le.PutUint32(p[hdrRamdiskSize:], uint32(z.initrdSize))
	e820 := z.e820()
	p[zeroE820Entries] = byte(len(e820))
	for i, r := range e820 {
		e := p[zeroE820Table+i*e820Size:]
		le.PutUint64(e, r.GPA)
		le.PutUint64(e[8:], r.Size)
		le.PutUint32(e[16:], e820RAM)
	}
	return nil
}

// e820 is the RAM without a PC's hole between 639 KiB and 1 MiB.
func (z zeroPage) e820() []Range {
	first := z.ram[0]
	return append([]Range{
		{GPA: 0, Size: lowEnd},
		{GPA: highStart, Size: first.Size - highStart},
	}, z.ram[1:]...)
}

const (
	pagePresent  = 1 << 0
	pageWritable = 1 << 1
	pageHuge     = 1 << 7 // a page directory entry maps 2 MiB
	hugePageSize = 2 << 20
)

// pageTables map the first mappedGiB GiB one to one with 2 MiB pages.
func pageTables(mem Memory) error {
	p, err := mem.Slice(pml4Addr, (2+mappedGiB)*pageSize)
	if err != nil {
		return err
	}
	clear(p)
	le := binary.LittleEndian
	le.PutUint64(p, pdptAddr|pagePresent|pageWritable)
	for i := range mappedGiB {
		le.PutUint64(p[pdptAddr-pml4Addr+8*i:], uint64(pdAddr+i*pageSize)|pagePresent|pageWritable)
	}
	for i := range mappedGiB * pageSize / 8 {
		le.PutUint64(p[pdAddr-pml4Addr+8*i:], uint64(i)*hugePageSize|pagePresent|pageWritable|pageHuge)
	}
	return nil
}

// The boot protocol's selectors (__BOOT_CS, __BOOT_DS).
const (
	codeSelector = 0x10
	dataSelector = 0x18
)

// gdtEntries are null, null, 64-bit code, flat data (Intel SDM 3A, 3.4.5).
func gdtEntries() [4]uint64 {
	return [4]uint64{2: 0x00af_9b00_0000_ffff, 3: 0x00cf_9300_0000_ffff}
}

func gdt(mem Memory) error {
	entries := gdtEntries()
	p, err := mem.Slice(gdtAddr, 8*len(entries))
	if err != nil {
		return err
	}
	for i, e := range entries {
		binary.LittleEndian.PutUint64(p[8*i:], e)
	}
	return nil
}
