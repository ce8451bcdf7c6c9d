package pvm

import (
	"encoding/binary"

	gokvm "github.com/bobuhiro11/gokvm/kvm"

	"github.com/mvm-project/mvm/vmm/kvm"
)

// The XSAVE area (Intel SDM 1, 13.4): a legacy region for the x87 and SSE
// components, a header, then each further component where CPUID says.
const (
	xsaveFCW       = 0
	xsaveMXCSR     = 24
	xsaveMXCSRMask = 28
	xsaveST        = 32 // the x87 registers
	xsaveXMM       = 160
	xsaveLegacyEnd = 416 // what follows is the program's
	xsaveHeader    = 512
	xsaveXCompBV   = 520
	xsaveReserved  = 528
	xsaveExtended  = 576
	xsaveAlign     = 64

	xX87 = 1 << 0
	xSSE = 1 << 1
	xAVX = 1 << 2

	initialFCW   = 0x37f
	initialMXCSR = 0x1f80
	// mxcsrMask is what MXCSR_MASK stands for where it is 0.
	mxcsrMask = 0xffbf
)

// component is where one state component lies in the XSAVE area.
type component struct{ offset, size int }

// layout is where the components from 2 on lie; size 0: the processor has none
// of that number, or it does not fit.
type layout [63]component

const leafXSave = 0xd // Intel SDM 2A, CPUID; AMD APM 3, E.3.12

// newLayout reads it from CPUID, which is KVM's and to be trusted; it is the same
// for every vCPU and differs between makers.
func newLayout(cpuid []gokvm.CPUIDEntry2) layout {
	var l layout
	for _, e := range cpuid {
		const supervisor = 1 // ECX: not in the standard form
		if e.Function != leafXSave || e.Index < 2 || int(e.Index) >= len(l) || e.Ecx&supervisor != 0 {
			continue
		}
		c := component{offset: int(e.Ebx), size: int(e.Eax)}
		if c.offset >= xsaveExtended && c.size > 0 && c.offset+c.size <= len(kvm.XSave{}) {
			l[e.Index] = c
		}
	}
	return l
}

// end is how far an area with the components of set reaches.
func (l *layout) end(set uint64) int {
	end := xsaveExtended
	for i, c := range l {
		if set>>i&1 != 0 {
			end = max(end, c.offset+c.size)
		}
	}
	return end
}

// pieces calls f with each stretch of the area that holds the components of set.
func (l *layout) pieces(set uint64, f func(from, to int)) {
	if set&xX87 != 0 {
		f(xsaveFCW, xsaveMXCSR)
		f(xsaveST, xsaveXMM)
	}
	if set&(xSSE|xAVX) != 0 {
		f(xsaveMXCSR, xsaveST)
	}
	if set&xSSE != 0 {
		f(xsaveXMM, xsaveLegacyEnd)
	}
	for i, c := range l {
		if set>>i&1 != 0 && c.size > 0 {
			f(c.offset, c.offset+c.size)
		}
	}
}

// save is the xsave instruction: it writes the components of set, which are all
// switched on, from state to a guest's area (Intel SDM 1, 13.7).
func (l *layout) save(area span, state *kvm.XSave, set uint64) {
	l.pieces(set, func(from, to int) { area.writeAt(state[from:to], from) })
	var header [8]byte
	area.readAt(header[:], xsaveHeader)
	le := binary.LittleEndian
	have := le.Uint64(header[:])&^set | le.Uint64(state[xsaveHeader:])&set
	le.PutUint64(header[:], have)
	area.writeAt(header[:], xsaveHeader)
}

// restore is the xrstor instruction: it sets the components of set in state from
// a guest's area, of which it takes one copy. It reports false if the area is
// not one that may be loaded, which is a general-protection fault; xcr0 is what
// is switched on (Intel SDM 1, 13.8).
func (l *layout) restore(state *kvm.XSave, area span, set, xcr0 uint64) bool {
	var a kvm.XSave
	area.readAt(a[:l.end(set)], 0)
	le := binary.LittleEndian
	have := le.Uint64(a[xsaveHeader:])
	// The compacted form is for processors with XSAVEC, which the guest is told
	// this is not.
	if have&^xcr0 != 0 || !zero(a[xsaveXCompBV:xsaveReserved+8]) {
		return false
	}
	if set&(xSSE|xAVX) != 0 && !validMXCSR(state, le.Uint32(a[xsaveMXCSR:])) {
		return false
	}
	initialize(&a, have)
	copy(a[xsaveMXCSRMask:xsaveST], state[xsaveMXCSRMask:]) // the processor's
	l.pieces(set, func(from, to int) { copy(state[from:to], a[from:to]) })
	now := le.Uint64(state[xsaveHeader:])&^set | have&set
	// KVM loads MXCSR only along with a component that is in use; x87 and SSE
	// always count as such, with what initialize gave them.
	le.PutUint64(state[xsaveHeader:], now|xX87|xSSE)
	le.PutUint64(state[xsaveXCompBV:], 0)
	return true
}

// initialize gives the x87 and SSE registers of an area their initial state if
// they are not in have. MXCSR is apart: xrstor loads it either way.
func initialize(a *kvm.XSave, have uint64) {
	if have&xX87 == 0 {
		clear(a[xsaveFCW:xsaveMXCSR])
		clear(a[xsaveST:xsaveXMM])
		binary.LittleEndian.PutUint16(a[xsaveFCW:], initialFCW)
	}
	if have&xSSE == 0 {
		clear(a[xsaveXMM:xsaveLegacyEnd])
	}
}

// validMXCSR says whether a value has none of the processor's reserved bits.
func validMXCSR(state *kvm.XSave, v uint32) bool {
	mask := binary.LittleEndian.Uint32(state[xsaveMXCSRMask:])
	if mask == 0 {
		mask = mxcsrMask
	}
	return v&^mask == 0
}

// setMXCSR is the ldmxcsr instruction, false for a general-protection fault.
func setMXCSR(state *kvm.XSave, v uint32) bool {
	if !validMXCSR(state, v) {
		return false
	}
	le := binary.LittleEndian
	have := le.Uint64(state[xsaveHeader:])
	initialize(state, have)
	le.PutUint32(state[xsaveMXCSR:], v)
	le.PutUint64(state[xsaveHeader:], have|xX87|xSSE)
	return true
}

func zero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}
