package boot

import (
	"testing"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
	"github.com/google/go-cmp/cmp"
)

// TestSegmentsMatchGDT: the hidden parts of the segment registers are what the
// processor would load from the GDT.
func TestSegmentsMatchGDT(t *testing.T) {
	s := Sregs(gokvm.Sregs{})
	if int(s.GDT.Limit) != 8*len(gdtEntries())-1 || s.GDT.Base != gdtAddr {
		t.Errorf("GDT %+v", s.GDT)
	}
	for name, seg := range map[string]gokvm.Segment{"CS": s.CS, "DS": s.DS, "ES": s.ES, "FS": s.FS, "GS": s.GS, "SS": s.SS} {
		if diff := cmp.Diff(descriptor(gdtEntries()[seg.Selector/8], seg.Selector), seg, cmp.AllowUnexported(seg)); diff != "" {
			t.Errorf("%s (-GDT +register):\n%s", name, diff)
		}
	}
}

// descriptor decodes a segment descriptor (Intel SDM 3A, 3.4.5).
func descriptor(d uint64, selector uint16) gokvm.Segment {
	bit := func(n int) uint8 { return uint8(d >> n & 1) }
	s := gokvm.Segment{
		Base:     d>>16&0xff_ffff | d>>56<<24,
		Limit:    uint32(d&0xffff | d>>48&0xf<<16),
		Selector: selector,
		Typ:      uint8(d >> 40 & 0xf),
		S:        bit(44), DPL: uint8(d >> 45 & 3), Present: bit(47),
		AVL: bit(52), L: bit(53), DB: bit(54), G: bit(55),
	}
	if s.G == 1 {
		s.Limit = s.Limit<<12 | 0xfff
	}
	return s
}

// TestEntryState is what the 64-bit boot protocol asks for.
func TestEntryState(t *testing.T) {
	s := Sregs(gokvm.Sregs{CR0: 0x6000_0010, ApicBase: 0xfee0_0900})
	if s.CR0&(cr0PE|cr0PG) != cr0PE|cr0PG || s.CR4&cr4PAE == 0 || s.EFER != eferLME|eferLMA || s.CR3 != pml4Addr || s.CS.L != 1 {
		t.Errorf("not in 64-bit mode: %+v", s)
	}
	if s.ApicBase != 0xfee0_0900 {
		t.Errorf("the APIC's base is lost: %#x", s.ApicBase)
	}
	r := Regs(0x123_4567)
	if r.RIP != 0x123_4567 || r.RSI != zeroPageAddr || r.RFLAGS != rflagsReserved {
		t.Errorf("registers %+v", r)
	}
	if r.RSP > pml4Addr || r.RSP < zeroPageAddr+pageSize {
		t.Errorf("the stack at %#x grows over something", r.RSP)
	}
}

func TestCPUID(t *testing.T) {
	supported := []gokvm.CPUIDEntry2{
		{Function: leafFeatures, Ebx: 0xaabb_ccdd, Edx: edxHTT},
		{Function: leafCache, Eax: 0xffff_c121},
		{Function: leafTopology, Index: 0, Edx: 99},
		{Function: leafTopology, Index: 1},
		{Function: leafTopology, Index: 2},
		{Function: leafTopologyV2, Index: 1},
		{Function: leafAMDSizes, Eax: 7, Ecx: 0xffff_ffff},
		{Function: leafAMDTopology, Eax: 9, Ebx: 9, Ecx: 9},
		{Function: 0x4000_0001, Eax: 1},
	}
	original := append([]gokvm.CPUIDEntry2(nil), supported...)
	got := CPUID(supported, 2, 3, true)
	want := []gokvm.CPUIDEntry2{
		{Function: leafFeatures, Ebx: 0x0204_ccdd, Ecx: ecxX2APIC | ecxHypervisor | ecxTSCDeadline, Edx: edxHTT},
		{Function: leafCache, Eax: 3<<26 | 0x121},
		{Function: leafTopology, Index: 0, Ebx: 1, Ecx: 1 << 8, Edx: 2},
		{Function: leafTopology, Index: 1, Eax: 2, Ebx: 3, Ecx: 2<<8 | 1, Edx: 2},
		{Function: leafTopology, Index: 2, Ecx: 2, Edx: 2},
		{Function: leafTopologyV2, Index: 1, Eax: 2, Ebx: 3, Ecx: 2<<8 | 1, Edx: 2},
		{Function: leafAMDSizes, Eax: 7, Ecx: 2<<12 | 2},
		{Function: leafAMDTopology, Eax: 2, Ebx: 2},
		{Function: 0x4000_0001, Eax: 1},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(gokvm.CPUIDEntry2{})); diff != "" {
		t.Errorf("vCPU 2 of 3 (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(original, supported, cmp.AllowUnexported(gokvm.CPUIDEntry2{})); diff != "" {
		t.Errorf("what KVM supports was changed:\n%s", diff)
	}
	one := CPUID(supported, 0, 1, false)
	if one[0].Edx&edxHTT != 0 || one[0].Ecx&ecxTSCDeadline != 0 || one[0].Ebx>>16 != 1 {
		t.Errorf("a lone vCPU: %+v", one[0])
	}
}
