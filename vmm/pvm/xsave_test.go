package pvm

import (
	"encoding/binary"
	"testing"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
	"github.com/google/go-cmp/cmp"

	"github.com/mvm-project/mvm/vmm/kvm"
)

// xcr0 is x87, SSE, AVX and AVX-512.
const testXCR0 = 0xe7

func testLayout() layout {
	return newLayout([]gokvm.CPUIDEntry2{
		{Function: leafXSave, Index: 0, Eax: testXCR0, Ebx: 2440},
		{Function: leafXSave, Index: 1, Eax: 0xf, Ebx: 2440},
		{Function: leafXSave, Index: 2, Eax: 256, Ebx: 576},
		{Function: leafXSave, Index: 5, Eax: 64, Ebx: 832},
		{Function: leafXSave, Index: 6, Eax: 512, Ebx: 896},
		{Function: leafXSave, Index: 7, Eax: 1024, Ebx: 1408},
		{Function: leafXSave, Index: 11, Eax: 16, Ebx: 0, Ecx: 1}, // supervisor
		{Function: leafXSave, Index: 18, Eax: 8192, Ebx: 2816},    // too large for KVM_GET_XSAVE
	})
}

func TestLayout(t *testing.T) {
	want := layout{2: {576, 256}, 5: {832, 64}, 6: {896, 512}, 7: {1408, 1024}}
	if d := cmp.Diff(want, testLayout(), cmp.AllowUnexported(component{})); d != "" {
		t.Error(d)
	}
	l := testLayout()
	for set, end := range map[uint64]int{0: 576, 3: 576, 7: 832, testXCR0: 2432, ^uint64(0): 2432} {
		if got := l.end(set); got != end {
			t.Errorf("end of %#x: %d", set, got)
		}
	}
}

// state is an XSAVE area whose bytes are v, with a header that says have.
func state(v byte, have uint64) *kvm.XSave {
	var x kvm.XSave
	for i := range x {
		x[i] = v
	}
	clear(x[xsaveHeader:xsaveExtended])
	le := binary.LittleEndian
	le.PutUint64(x[xsaveHeader:], have)
	le.PutUint32(x[xsaveMXCSR:], initialMXCSR|uint32(v&1)<<13) // a rounding mode
	le.PutUint32(x[xsaveMXCSRMask:], 0xffff)
	return &x
}

func header(x []byte) uint64 { return binary.LittleEndian.Uint64(x[xsaveHeader:]) }

func mxcsr(x []byte) uint32 { return binary.LittleEndian.Uint32(x[xsaveMXCSR:]) }

// TestSave saves some components and leaves the rest of the area.
func TestSave(t *testing.T) {
	l := testLayout()
	area := *state(0xaa, 0x85)
	l.save(span{area[:]}, state(0x11, 0x23), xSSE|1<<5|1<<7) // AVX-512's last is in its initial state
	want := *state(0xaa, 0)
	copy(want[24:32], state(0x11, 0)[24:32])
	for i := range want {
		if i >= 160 && i < 416 || i >= 832 && i < 896 || i >= 1408 && i < 2432 {
			want[i] = 0x11
		}
	}
	binary.LittleEndian.PutUint64(want[xsaveHeader:], 0x5|0x22)
	if d := cmp.Diff(want[:], area[:]); d != "" {
		t.Error(d)
	}
}

// TestRestore is the way back: what is not asked for stays, and what is asked
// for but not in the area gets its initial state.
func TestRestore(t *testing.T) {
	l := testLayout()
	s := *state(0x11, testXCR0)
	area := *state(0xaa, xX87|1<<5)
	if !l.restore(&s, span{area[:100], area[100:]}, xX87|xSSE|1<<5|1<<6, testXCR0) {
		t.Fatal("refused")
	}
	want := *state(0x11, 0x27|0x80) // SSE counts as in use, AVX-512's second no longer
	copy(want[0:24], area[0:24])
	copy(want[24:28], area[24:28]) // MXCSR, not its mask
	copy(want[32:160], area[32:160])
	clear(want[160:416])
	copy(want[832:896], area[832:896])
	copy(want[896:1408], area[896:1408]) // KVM does not look at it
	if d := cmp.Diff(want[:], s[:]); d != "" {
		t.Error(d)
	}
}

// TestRestoreInitial gets all from an area with nothing in it but MXCSR.
func TestRestoreInitial(t *testing.T) {
	l := testLayout()
	s, area := *state(0x11, testXCR0), *state(0xaa, 0)
	binary.LittleEndian.PutUint32(area[xsaveMXCSR:], 0x7f80)
	if !l.restore(&s, span{area[:]}, testXCR0, testXCR0) {
		t.Fatal("refused")
	}
	if fcw := binary.LittleEndian.Uint16(s[:]); fcw != initialFCW || !zero(s[2:24]) || !zero(s[32:416]) {
		t.Errorf("FCW %#x, % x", fcw, s[:416])
	}
	if header(s[:]) != xX87|xSSE || mxcsr(s[:]) != 0x7f80 {
		t.Errorf("header %#x, MXCSR %#x", header(s[:]), mxcsr(s[:]))
	}
}

func TestRestoreRefuses(t *testing.T) {
	l := testLayout()
	for name, spoil := range map[string]func(*kvm.XSave){
		"a component that is off": func(a *kvm.XSave) { a[xsaveHeader+1] = 2 },
		"the compacted form":      func(a *kvm.XSave) { a[xsaveXCompBV+7] = 0x80 },
		"reserved bits":           func(a *kvm.XSave) { a[xsaveReserved+7] = 1 },
		"MXCSR":                   func(a *kvm.XSave) { a[xsaveMXCSR+2] = 1 },
	} {
		s, area := *state(0x11, testXCR0), *state(0xaa, testXCR0)
		spoil(&area)
		before := s
		if l.restore(&s, span{area[:]}, testXCR0, testXCR0) || s != before {
			t.Errorf("%s: not refused, or not without effect", name)
		}
	}
}

func TestSetMXCSR(t *testing.T) {
	s := *state(0x11, xAVX)
	if setMXCSR(&s, 1<<16) || s != *state(0x11, xAVX) {
		t.Error("a reserved bit was taken")
	}
	if !setMXCSR(&s, 0x5f80) || mxcsr(s[:]) != 0x5f80 || header(s[:]) != xX87|xSSE|xAVX || !zero(s[xsaveXMM:xsaveLegacyEnd]) {
		t.Errorf("MXCSR %#x, header %#x", mxcsr(s[:]), header(s[:]))
	}
}
