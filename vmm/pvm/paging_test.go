package pvm

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/mvm-project/mvm/vmm/memory"
)

// newRAM is 1 MiB of guest memory.
func newRAM(t testing.TB) *memory.RAM {
	t.Helper()
	ram, err := memory.New(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ram.Close(); err != nil {
			t.Error(err)
		}
	})
	return ram
}

func put(t testing.TB, ram *memory.RAM, gpa, v uint64) {
	t.Helper()
	b, err := ram.Slice(gpa, 8)
	if err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint64(b, v)
}

func get(t testing.TB, ram *memory.RAM, gpa uint64) uint64 {
	t.Helper()
	v, err := ram.Load(gpa)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Where the tests' page tables are, and what they map: linear 0x40_0000 on, page
// by page, by the entries at testPT.
const (
	testPML4, testPDPT, testPD, testPT = 0x1000, 0x2000, 0x3000, 0x4000

	testLinear = 0x40_0000
	rw         = ptePresent | pteWritable
)

func newTestSpace(t testing.TB) space {
	t.Helper()
	ram := newRAM(t)
	put(t, ram, testPML4, testPDPT|rw)
	put(t, ram, testPDPT, testPD|rw)
	put(t, ram, testPD+2*8, testPT|rw)
	return space{ram: ram, cr3: testPML4 | 0xfff, readOnly: true} // the low bits of CR3 are a PCID
}

func TestTranslate(t *testing.T) {
	s := newTestSpace(t)
	put(t, s.ram, testPT+0*8, 0x8000|rw)
	put(t, s.ram, testPT+1*8, 0x9000|ptePresent)
	put(t, s.ram, testPT+3*8, 1<<63|0xa000|rw|0x1e) // NX and ignored bits
	put(t, s.ram, testPD+3*8, 0|rw|pteHuge)
	put(t, s.ram, testPD+4*8, 0x40_0000|rw|pteHuge|1<<12) // PAT
	put(t, s.ram, testPDPT+1*8, 0x8000_0000|rw|pteHuge)
	put(t, s.ram, testPD+5*8, 1<<40|rw)
	for _, test := range []struct {
		name   string
		linear uint64
		write  bool
		want   uint64
		code   int // of a page fault; -1: none
		err    error
	}{
		{"page", 0x40_0123, false, 0x8123, -1, nil},
		{"write", 0x40_0fff, true, 0x8fff, -1, nil},
		{"read-only page", 0x40_1000, false, 0x9000, -1, nil},
		{"write to it", 0x40_1000, true, 0, faultWrite | faultProtection, nil},
		{"no page", 0x40_2000, false, 0, 0, nil},
		{"write to none", 0x40_2000, true, 0, faultWrite, nil},
		{"no table", 0x1234_5678_9000, false, 0, 0, nil},
		{"other bits", 0x40_3010, true, 0xa010, -1, nil},
		{"2 MiB", 0x60_1234, true, 0x1234, -1, nil},
		{"2 MiB with PAT", 0x80_1234, false, 0x40_1234, -1, nil},
		{"1 GiB", 0x4000_0000 + 0x1234_5678, false, 0x8000_0000 + 0x1234_5678, -1, nil},
		{"table outside RAM", 0xa0_0000, false, 0, -1, errNotRAM},
	} {
		gpa, fault, err := s.translate(test.linear, test.write)
		code := -1
		if fault != nil {
			code = int(fault.code)
		}
		if gpa != test.want || code != test.code || !errors.Is(err, test.err) || fault != nil && fault.linear != test.linear {
			t.Errorf("%s: %#x, %+v, %v", test.name, gpa, fault, err)
		}
	}
	s.readOnly = false
	if gpa, fault, err := s.translate(0x40_1000, true); gpa != 0x9000 || fault != nil || err != nil {
		t.Errorf("write to a read-only page without CR0.WP: %#x, %+v, %v", gpa, fault, err)
	}
	s.cr3 = 1 << 40
	if _, _, err := s.translate(testLinear, false); !errors.Is(err, errNotRAM) {
		t.Errorf("CR3 outside RAM: %v", err)
	}
}

// TestMark looks at the bits that the processor sets.
func TestMark(t *testing.T) {
	s := newTestSpace(t)
	put(t, s.ram, testPT, 0x8000|rw)
	for _, write := range []bool{false, true} {
		if _, fault, err := s.translate(testLinear, write); fault != nil || err != nil {
			t.Fatal(fault, err)
		}
		want := uint64(0x8000 | rw | pteAccessed)
		if write {
			want |= pteDirty
		}
		if got := get(t, s.ram, testPT); got != want {
			t.Errorf("write %v: entry %#x, not %#x", write, got, want)
		}
	}
	for _, gpa := range []uint64{testPML4, testPDPT, testPD + 2*8} {
		if got := get(t, s.ram, gpa); got&(pteAccessed|pteDirty) != pteAccessed {
			t.Errorf("table entry at %#x: %#x", gpa, got)
		}
	}
}

func TestMarkChanged(t *testing.T) {
	s := newTestSpace(t)
	put(t, s.ram, testPT, 0x8000|rw)
	if err := s.mark(testPT, 0x9000|rw, false); !errors.Is(err, errChanged) {
		t.Error(err)
	}
	if got := get(t, s.ram, testPT); got != 0x8000|rw {
		t.Errorf("entry %#x", got)
	}
}

// TestSpan goes over a page's end, to a page elsewhere.
func TestSpan(t *testing.T) {
	s := newTestSpace(t)
	put(t, s.ram, testPT, 0xb000|rw)
	put(t, s.ram, testPT+8, 0x8000|rw)
	sp, fault, err := s.span(testLinear+0xffe, 4, true)
	if fault != nil || err != nil {
		t.Fatal(fault, err)
	}
	sp.writeAt([]byte{1, 2, 3, 4}, 0)
	sp.writeAt([]byte{9}, 2)
	var got [3]byte
	sp.readAt(got[:], 1)
	if got != [3]byte{2, 9, 4} {
		t.Errorf("read %v", got)
	}
	if a, b := get(t, s.ram, 0xbff8)>>48, get(t, s.ram, 0x8000); a != 0x0201 || b != 0x0409 {
		t.Errorf("in RAM %#x %#x", a, b)
	}
	if _, fault, _ := s.span(testLinear+0x1ffe, 4, false); fault == nil || fault.linear != testLinear+0x2000 {
		t.Errorf("into nothing: %+v", fault)
	}
	put(t, s.ram, testPT+2*8, 1<<40|rw)
	if _, _, err := s.span(testLinear+0x2000, 4, false); !errors.Is(err, errNotRAM) {
		t.Errorf("onto a device: %v", err)
	}
}

func TestCanonical(t *testing.T) {
	for linear, want := range map[uint64]bool{
		0: true, 1<<47 - 1: true, 1 << 47: false, 1<<48 - 1: false, 0xffff_8000_0000_0000: true, 0xffff_7fff_ffff_ffff: false, ^uint64(0): true,
	} {
		if got := canonical(linear); got != want {
			t.Errorf("%#x: %v", linear, got)
		}
	}
}

// FuzzTranslate walks page tables of any content: no panic, no endless walk, and
// an address in a page that its error does not deny.
func FuzzTranslate(f *testing.F) {
	f.Add(uint64(testLinear), uint64(testPDPT|rw), uint64(testPD|rw), uint64(testPT|rw), uint64(0x8000|rw), true)
	f.Add(uint64(1<<47), uint64(testPML4|rw), uint64(testPML4|rw), uint64(testPML4|rw), uint64(testPML4|rw), false) // a table that is its own
	f.Add(^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), true)
	f.Fuzz(func(t *testing.T, linear, pml4e, pdpte, pde, pte uint64, write bool) {
		ram := newRAM(t)
		for i := range uint64(pageSize / 8) {
			put(t, ram, testPML4+8*i, pml4e)
			put(t, ram, testPDPT+8*i, pdpte)
			put(t, ram, testPD+8*i, pde)
			put(t, ram, testPT+8*i, pte)
		}
		s := space{ram: ram, cr3: testPML4, readOnly: true}
		gpa, fault, err := s.translate(linear, write)
		if err == nil && fault == nil && gpa%pageSize != linear%pageSize {
			t.Errorf("%#x became %#x", linear, gpa)
		}
		if sp, fault, err := s.span(linear, 3*pageSize, write); err == nil && fault == nil {
			sp.readAt(make([]byte, 3*pageSize), 0)
		}
	})
}
