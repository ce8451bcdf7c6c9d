package boot

import (
	gokvm "github.com/bobuhiro11/gokvm/kvm"
)

// Control register and EFER bits (Intel SDM 3A, 2.5 and 2.2.1).
const (
	cr0PE   = 1 << 0
	cr0PG   = 1 << 31
	cr4PAE  = 1 << 5
	eferLME = 1 << 8
	eferLMA = 1 << 10

	rflagsReserved = 1 << 1 // always one
)

// Regs are the general registers at entry: RSI points to the zero page.
func Regs(entry uint64) gokvm.Regs {
	return gokvm.Regs{RIP: entry, RSI: zeroPageAddr, RSP: stackAddr, RBP: stackAddr, RFLAGS: rflagsReserved}
}

// Sregs turns a vCPU's reset state into 64-bit mode with flat segments and the
// boot page tables.
func Sregs(s gokvm.Sregs) gokvm.Sregs {
	data := gokvm.Segment{Limit: 0xffff_ffff, Selector: dataSelector, Typ: 3, Present: 1, S: 1, DB: 1, G: 1}
	s.DS, s.ES, s.FS, s.GS, s.SS = data, data, data, data, data
	s.CS = gokvm.Segment{Limit: 0xffff_ffff, Selector: codeSelector, Typ: 11, Present: 1, S: 1, L: 1, G: 1}
	s.GDT = gokvm.Descriptor{Base: gdtAddr, Limit: uint16(8*len(gdtEntries()) - 1)}
	s.IDT = gokvm.Descriptor{}
	s.CR0 |= cr0PE | cr0PG
	s.CR3 = pml4Addr
	s.CR4 |= cr4PAE
	s.EFER |= eferLME | eferLMA
	return s
}

// CPUID functions and bits that depend on the vCPU (Intel SDM 2A, CPUID; AMD APM
// 3, appendix E).
const (
	leafFeatures    = 0x1
	leafCache       = 0x4
	leafTopology    = 0xb
	leafTopologyV2  = 0x1f
	leafAMDSizes    = 0x8000_0008
	leafAMDTopology = 0x8000_001e

	ecxX2APIC      = 1 << 21
	ecxTSCDeadline = 1 << 24
	ecxHypervisor  = 1 << 31
	edxHTT         = 1 << 28

	levelThread = 1 // ECX[15:8] of the topology leaves
	levelCore   = 2
)

// CPUID is what vCPU id of n sees: supported as KVM gives it, with every vCPU a
// core of one package. tscDeadline says that KVM has that timer, whose bit KVM
// leaves to the VMM.
func CPUID(supported []gokvm.CPUIDEntry2, id, n int, tscDeadline bool) []gokvm.CPUIDEntry2 {
	out := make([]gokvm.CPUIDEntry2, len(supported))
	copy(out, supported)
	bits := uint32(0) // of an APIC ID that tell the cores apart
	for 1<<bits < n {
		bits++
	}
	for i := range out {
		e := &out[i]
		switch e.Function {
		case leafFeatures:
			e.Ebx = e.Ebx&0xffff | uint32(1)<<bits<<16 | uint32(id)<<24
			e.Ecx |= ecxX2APIC | ecxHypervisor
			if tscDeadline {
				e.Ecx |= ecxTSCDeadline
			}
			e.Edx &^= edxHTT
			if n > 1 {
				e.Edx |= edxHTT
			}
		case leafCache: // no sharing of caches told; cores in the package
			e.Eax &= 0x3fff
			e.Eax |= (1<<bits - 1) << 26
		case leafTopology, leafTopologyV2:
			topology(e, uint32(id), uint32(n), bits)
		case leafAMDSizes:
			e.Ecx = bits<<12 | uint32(n-1)
		case leafAMDTopology: // APIC ID, one thread a core, one node
			e.Eax, e.Ebx, e.Ecx = uint32(id), uint32(id), 0
		}
	}
	return out
}

// topology fills a subleaf of the extended topology leaves.
func topology(e *gokvm.CPUIDEntry2, id, n, bits uint32) {
	e.Edx = id
	switch e.Index {
	case 0:
		e.Eax, e.Ebx, e.Ecx = 0, 1, levelThread<<8
	case 1:
		e.Eax, e.Ebx, e.Ecx = bits, n, levelCore<<8|1
	default:
		e.Eax, e.Ebx, e.Ecx = 0, 0, e.Index
	}
}
