package boot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
)

// image is a kernel file, understood and checked: what to copy where.
type image struct {
	entry, end uint64 // GPAs: 64-bit entry point; end of what the kernel needs
	segments   []segment
	header     []byte // of a bzImage: its setup header, for the zero page
	cmdlineMax int    // with the final zero
	initrdMax  uint64 // the initramfs must end here at the latest
	file       File
}

// segment is a piece of the file, size bytes from off on, and its place in RAM,
// room bytes of which the rest stays zero.
type segment struct {
	gpa, size, room uint64
	off             int64
	constant        bool // the kernel does not write there, but to patch its code
}

// parseKernel reads the headers of f, which may hold anything.
func parseKernel(f File) (*image, error) {
	head := make([]byte, min(f.Size(), pageSize))
	if _, err := f.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the kernel: %w", err)
	}
	var img *image
	var err error
	switch {
	case bytes.HasPrefix(head, []byte("\x7fELF")):
		img, err = parseELF(f, head)
	case isBzImage(head):
		img, err = parseBzImage(f, head)
	default:
		return nil, ErrNoKernel
	}
	if err != nil {
		return nil, err
	}
	img.file = f
	return img, nil
}

// load puts the segments into mem. What is constant is mapped instead, as far as it
// fills huge pages: where a huge page is shared with memory that the guest writes,
// each of its small ones would cost an exit.
func (img *image) load(mem Memory, mapPages func(gpa uint64, off int64, size int) error) error {
	for _, s := range img.segments {
		if mapPages != nil && s.constant && s.gpa%hugePage == 0 && s.off%pageSize == 0 {
			whole := s.size &^ (hugePage - 1)
			if err := mapPages(s.gpa, s.off, int(whole)); err != nil {
				return err
			}
			s.gpa, s.off, s.size = s.gpa+whole, s.off+int64(whole), s.size-whole
		}
		if err := readInto(mem, s.gpa, img.file, s.off, s.size, "kernel"); err != nil {
			return err
		}
	}
	return nil
}

// Offsets in an ELF64 file (System V ABI, "Object files").
const (
	elfHeaderSize  = 64
	elfClass       = 4 // 2: 64-bit
	elfData        = 5 // 1: little-endian
	elfType        = 16
	elfMachine     = 18
	elfEntry       = 24
	elfPhoff       = 32
	elfPhentsize   = 54
	elfPhnum       = 56
	elfPhdrSize    = 56
	elfTypeExec    = 2
	elfMachineX86  = 62
	elfLoad        = 1 // PT_LOAD
	elfFlagWrite   = 2 // PF_W
	elfMaxSegments = 64
)

// parseELF reads an uncompressed vmlinux. Its physical addresses are where it is
// linked to run.
func parseELF(f File, head []byte) (*image, error) {
	le := binary.LittleEndian
	if len(head) < elfHeaderSize || head[elfClass] != 2 || head[elfData] != 1 ||
		le.Uint16(head[elfType:]) != elfTypeExec || le.Uint16(head[elfMachine:]) != elfMachineX86 {
		return nil, ErrNoKernel
	}
	n, off := int(le.Uint16(head[elfPhnum:])), le.Uint64(head[elfPhoff:])
	if n == 0 || n > elfMaxSegments || le.Uint16(head[elfPhentsize:]) != elfPhdrSize || off > uint64(f.Size()) {
		return nil, fmt.Errorf("%d program headers at %#x: %w", n, off, ErrNoKernel)
	}
	phdrs := make([]byte, n*elfPhdrSize)
	if got, err := f.ReadAt(phdrs, int64(off)); got < len(phdrs) {
		return nil, fmt.Errorf("the kernel file is cut short in its program headers: %w", err)
	}
	img := &image{entry: le.Uint64(head[elfEntry:]), cmdlineMax: cmdlineMax, initrdMax: math.MaxUint32}
	for ; len(phdrs) > 0; phdrs = phdrs[elfPhdrSize:] {
		if le.Uint32(phdrs) != elfLoad {
			continue
		}
		if err := img.addSegment(phdrs, f.Size()); err != nil {
			return nil, err
		}
	}
	if !img.holds(img.entry) {
		return nil, fmt.Errorf("entry point %#x lies outside the kernel: %w", img.entry, ErrNoKernel)
	}
	return img, nil
}

// holds reports whether the file has a byte for gpa.
func (img *image) holds(gpa uint64) bool {
	return slices.ContainsFunc(img.segments, func(s segment) bool { return gpa >= s.gpa && gpa-s.gpa < s.size })
}

// addSegment checks one PT_LOAD program header and takes it over.
func (img *image) addSegment(phdr []byte, fileSize int64) error {
	le := binary.LittleEndian
	off, gpa := le.Uint64(phdr[8:]), le.Uint64(phdr[24:])
	size, memSize := le.Uint64(phdr[32:]), le.Uint64(phdr[40:])
	switch {
	case off > uint64(fileSize) || size > uint64(fileSize)-off:
		return fmt.Errorf("the kernel file is cut short: it has %d bytes, a segment has %d from %d on", fileSize, size, off)
	case size > memSize || gpa < highStart || gpa > math.MaxUint32 || memSize > math.MaxUint32:
		return fmt.Errorf("segment of %d bytes at %#x: %w", memSize, gpa, ErrNoKernel)
	case slices.ContainsFunc(img.segments, func(s segment) bool { return gpa < s.gpa+s.room && s.gpa < gpa+memSize }):
		return fmt.Errorf("segment of %d bytes at %#x lies over another: %w", memSize, gpa, ErrNoKernel)
	}
	img.end = max(img.end, gpa+memSize)
	img.segments = append(img.segments, segment{
		gpa: gpa, size: size, room: memSize, off: int64(off), constant: le.Uint32(phdr[4:])&elfFlagWrite == 0,
	})
	return nil
}

// Offsets in a bzImage's setup header, which are also those of the zero page
// (Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header").
const (
	hdrSetupSects    = 0x1f1
	hdrBootFlag      = 0x1fe
	hdrJump          = 0x200 // its second byte gives the header's length
	hdrMagic         = 0x202
	hdrVersion       = 0x206
	hdrTypeOfLoader  = 0x210
	hdrLoadflags     = 0x211
	hdrRamdiskImage  = 0x218
	hdrRamdiskSize   = 0x21c
	hdrCmdLinePtr    = 0x228
	hdrInitrdAddrMax = 0x22c
	hdrXloadflags    = 0x236
	hdrCmdlineSize   = 0x238
	hdrPrefAddress   = 0x258
	hdrInitSize      = 0x260
	hdrEnd           = 0x264
	hdrMax           = 0x290 // here the zero page goes on with other things

	bootFlag      = 0xaa55
	headerMagic   = "HdrS"
	minVersion    = 0x20c // the first with xloadflags
	xlfKernel64   = 1     // XLF_KERNEL_64: there is a 64-bit entry point
	entry64Offset = 0x200
	sector        = 512
)

func isBzImage(head []byte) bool {
	return len(head) >= hdrEnd && binary.LittleEndian.Uint16(head[hdrBootFlag:]) == bootFlag &&
		string(head[hdrMagic:][:len(headerMagic)]) == headerMagic
}

// parseBzImage reads a compressed kernel, which unpacks itself around its
// preferred address.
func parseBzImage(f File, head []byte) (*image, error) {
	le := binary.LittleEndian
	version := le.Uint16(head[hdrVersion:])
	if version < minVersion || le.Uint16(head[hdrXloadflags:])&xlfKernel64 == 0 {
		return nil, fmt.Errorf("boot protocol %d.%02d without a 64-bit entry: %w", version>>8, version&0xff, ErrNoKernel)
	}
	sects := int64(head[hdrSetupSects])
	if sects == 0 {
		sects = 4
	}
	off := (sects + 1) * sector
	if off >= f.Size() {
		return nil, fmt.Errorf("the kernel file is cut short: %d bytes", f.Size())
	}
	gpa, size := le.Uint64(head[hdrPrefAddress:]), uint64(f.Size()-off)
	room := uint64(le.Uint32(head[hdrInitSize:]))
	if gpa < highStart || gpa > math.MaxUint32 || room < size {
		return nil, fmt.Errorf("preferred address %#x, %d bytes in %d: %w", gpa, size, room, ErrNoKernel)
	}
	end := min(hdrJump+2+int(head[hdrJump+1]), len(head), hdrMax)
	return &image{
		entry:      gpa + entry64Offset,
		end:        gpa + room,
		segments:   []segment{{gpa: gpa, size: size, room: room, off: off}},
		header:     head[hdrSetupSects:end],
		cmdlineMax: int(min(le.Uint32(head[hdrCmdlineSize:]), cmdlineMax-1)) + 1,
		initrdMax:  uint64(le.Uint32(head[hdrInitrdAddrMax:])) + 1,
	}, nil
}
