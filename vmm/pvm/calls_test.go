package pvm

import (
	"bytes"
	"math"
	"testing"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
)

func TestFillAndCopy(t *testing.T) {
	ram := newRAM(t)
	if err := fill(ram, &gokvm.Regs{R8: 0x100, RDX: 3}, 0x5a); err != nil {
		t.Fatal(err)
	}
	if got := get(t, ram, 0x100); got != 0x5a5a5a {
		t.Errorf("filled %#x", got)
	}
	if err := copyRAM(ram, &gokvm.Regs{R8: 0x101, R9: 0x100, RDX: 7}); err != nil {
		t.Fatal(err)
	}
	if got := get(t, ram, 0x100); got != 0x5a5a5a5a {
		t.Errorf("copied over itself: %#x", got)
	}
	if err := fill(ram, &gokvm.Regs{R8: 0x100, RDX: 8}, 0); err != nil || get(t, ram, 0x100) != 0 {
		t.Errorf("cleared: %v, %#x", err, get(t, ram, 0x100))
	}
}

func TestFillAndCopyOutside(t *testing.T) {
	ram := newRAM(t)
	for _, r := range []gokvm.Regs{
		{R8: 1 << 20, RDX: 1},
		{R8: 1<<20 - 1, RDX: 2},
		{R8: math.MaxUint64, RDX: 1},
		{R8: 0, RDX: math.MaxUint64},
		{R8: 8, RDX: 1 << 63},
		{R8: 1 << 40, RDX: 0x1000},
	} {
		if err := fill(ram, &r, 1); err == nil {
			t.Errorf("fill of %#x at %#x", r.RDX, r.R8)
		}
		if err := copyRAM(ram, &r); err == nil {
			t.Errorf("copy of %#x to %#x", r.RDX, r.R8)
		}
		r.R8, r.R9 = r.R9, r.R8
		if err := copyRAM(ram, &r); err == nil {
			t.Errorf("copy of %#x from %#x", r.RDX, r.R9)
		}
	}
}

// TestUserCopy copies three pages to others, the last of which is not there.
func TestUserCopy(t *testing.T) {
	s := newTestSpace(t)
	for i := range uint64(3) {
		put(t, s.ram, testPT+8*i, 0x10000+i*pageSize|ptePresent)
		put(t, s.ram, testPT+8*(8+i), 0x20000+i*pageSize|rw)
	}
	put(t, s.ram, testPT+8*10, 0)
	from, err := s.ram.Slice(0x10000, 3*pageSize)
	if err != nil {
		t.Fatal(err)
	}
	for i := range from {
		from[i] = byte(i * 7)
	}
	const start, target = testLinear + 0x10, testLinear + 8*pageSize + 0x20
	regs := gokvm.Regs{RSI: start, RDI: target, RCX: 2*pageSize + 100}
	s.userCopy(&regs)
	const done = 2*pageSize - 0x20
	if regs != (gokvm.Regs{RSI: start + done, RDI: target + done, RCX: 0x20 + 100}) {
		t.Errorf("registers %+v", regs)
	}
	to, err := s.ram.Slice(0x20000, 2*pageSize)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(to[0x20:], from[0x10:][:done]) {
		t.Error("not what was to be copied")
	}
}

// TestUserCopyRefuses stops at what is not mapped for it, and ends however much
// is asked for.
func TestUserCopyRefuses(t *testing.T) {
	s := newTestSpace(t)
	put(t, s.ram, testPT, 0x10000|rw)
	put(t, s.ram, testPT+8, 0x11000|ptePresent)
	put(t, s.ram, testPT+2*8, 1<<40|rw)
	for name, r := range map[string]gokvm.Regs{
		"read-only":        {RSI: testLinear, RDI: testLinear + 0x1000, RCX: 1},
		"not there":        {RSI: testLinear + 0x3000, RDI: testLinear, RCX: 1},
		"a device":         {RSI: testLinear + 0x2000, RDI: testLinear, RCX: 1},
		"not canonical":    {RSI: 1 << 50, RDI: testLinear, RCX: 1},
		"nothing":          {RSI: testLinear, RDI: testLinear},
		"to not canonical": {RSI: testLinear, RDI: 1 << 50, RCX: math.MaxUint64},
	} {
		got := r
		if s.userCopy(&got); got != r {
			t.Errorf("%s: registers %+v", name, got)
		}
	}
	for i := range uint64(512) { // one page again and again, over the end of the address space
		put(t, s.ram, testPT+8*i, 0x10000|rw)
		put(t, s.ram, testPD+8*i, testPT|rw)
		put(t, s.ram, testPDPT+8*i, testPD|rw)
		put(t, s.ram, testPML4+8*i, testPDPT|rw)
	}
	regs := gokvm.Regs{RSI: ^uint64(0) - 100, RDI: 7, RCX: math.MaxUint64}
	if s.userCopy(&regs); regs.RCX != math.MaxUint64-maxUserCopy {
		t.Errorf("left %#x", regs.RCX)
	}
}

func TestMemmap(t *testing.T) {
	s := newTestSpace(t)
	put(t, s.ram, testPT, 0x10000|rw)
	put(t, s.ram, testPT+8, 0x20000|rw)
	model, err := s.ram.Slice(0x10000, structPage)
	if err != nil {
		t.Fatal(err)
	}
	for i := range model {
		model[i] = byte(i)
	}
	const count, head = 100, 8
	if err := s.memmap(&gokvm.Regs{RSI: testLinear, RDI: testLinear + structPage, RCX: count, RDX: head}); err != nil {
		t.Fatal(err)
	}
	for i := uint64(1); i <= count; i++ {
		linear := testLinear + i*structPage
		gpa, _, err := s.translate(linear, false)
		if err != nil {
			t.Fatal(err)
		}
		if get(t, s.ram, gpa) != 0x0706050403020100 || get(t, s.ram, gpa+8) != linear+head || get(t, s.ram, gpa+16) != linear+head || get(t, s.ram, gpa+24) != 0x1f1e1d1c1b1a1918 {
			t.Fatalf("page %d", i)
		}
	}
	if got := get(t, s.ram, 0x20000+37*structPage); got != 0 {
		t.Errorf("behind the last: %#x", got)
	}
}

func TestMemmapRefuses(t *testing.T) {
	s := newTestSpace(t)
	put(t, s.ram, testPT, 0x10000|rw)
	for name, r := range map[string]gokvm.Regs{
		"more than there is RAM": {RSI: testLinear, RDI: testLinear, RCX: 257},
		"a bad list head":        {RSI: testLinear, RDI: testLinear, RCX: 1, RDX: 49},
		"no model":               {RSI: testLinear + 0x1000, RDI: testLinear, RCX: 1},
		"no page":                {RSI: testLinear, RDI: testLinear + 0x1000, RCX: 1},
		"across pages":           {RSI: testLinear, RDI: testLinear + 0xfe0, RCX: 1},
		"around the end":         {RSI: testLinear, RDI: ^uint64(0) - 63, RCX: 2},
	} {
		if err := s.memmap(&r); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
