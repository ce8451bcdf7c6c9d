package pvm

import (
	"encoding/binary"
)

// operation is what an instruction does.
type operation uint8

// The operations that a guest's kernel needs and KVM's interpreter lacks.
const (
	opNone operation = iota
	opFwait
	opInt3
	opXgetbv
	opXsave
	opXrstor
	opLdmxcsr
)

// instruction is one decoded instruction.
type instruction struct {
	op     operation
	length int     // in bytes
	mem    operand // of those that have one
}

// operand is a memory operand in 64-bit mode (Intel SDM 2A, 2.1.5 and 2.2.1.6):
// segment + base + index*scale + disp.
type operand struct {
	segment segment
	base    int // number of a general register, or noRegister, or ripRegister
	index   int // number of a general register, or noRegister
	scale   uint64
	disp    int32
	addr32  bool // the sum is cut to 32 bits
}

const (
	noRegister  = -1
	ripRegister = -2 // the address of the next instruction
)

// segment is one that has a base in 64-bit mode.
type segment uint8

const (
	segFlat segment = iota
	segFS
	segGS
)

// prefixes are an instruction's legacy prefixes and REX.
type prefixes struct {
	segment          segment
	operand, addr32  bool
	lock, repne, rep bool
	rexX, rexB       bool // the high bits of the index's and the base's number
}

// decode decodes the 64-bit instruction that code begins with. It knows the
// operations above and nothing else.
func decode(code []byte) (instruction, bool) {
	r := reader{code: code}
	p := r.prefixes()
	in := r.operation(p)
	if in.op == opNone || r.short || r.at > maxLength {
		return instruction{}, false
	}
	in.length = r.at
	return in, true
}

// maxLength is that of the longest x86 instruction.
const maxLength = 15

// reader reads code byte by byte; past its end it gives zeros and is short.
type reader struct {
	code  []byte
	at    int
	short bool
}

func (r *reader) next() byte {
	if r.at >= len(r.code) {
		r.short = true
		return 0
	}
	r.at++
	return r.code[r.at-1]
}

// prefixes reads them, up to the first byte of the opcode.
func (r *reader) prefixes() prefixes {
	var p prefixes
	for {
		switch b := r.next(); b {
		case 0x26, 0x2e, 0x36, 0x3e: // ES, CS, SS, DS: no base in 64-bit mode
			p.segment = segFlat
		case 0x64:
			p.segment = segFS
		case 0x65:
			p.segment = segGS
		case 0x66:
			p.operand = true
		case 0x67:
			p.addr32 = true
		case 0xf0:
			p.lock = true
		case 0xf2:
			p.repne = true
		case 0xf3:
			p.rep = true
		default:
			if b&0xf0 != 0x40 {
				r.back()
				return p
			}
			// REX, which counts only right before the opcode.
			p.rexX, p.rexB = b&2 != 0, b&1 != 0
			return p
		}
		if r.short {
			return p
		}
	}
}

func (r *reader) back() {
	if !r.short {
		r.at--
	}
}

// operation reads the opcode and the operand.
func (r *reader) operation(p prefixes) instruction {
	if p.lock {
		return instruction{} // none of ours may be locked
	}
	switch r.next() {
	case 0x9b:
		return instruction{op: opFwait}
	case 0xcc:
		return instruction{op: opInt3}
	case 0x0f:
		if p.operand || p.rep || p.repne {
			return instruction{} // another instruction altogether
		}
		return r.twoByte(p)
	}
	return instruction{}
}

// twoByte reads what follows an opcode's 0x0f.
func (r *reader) twoByte(p prefixes) instruction {
	switch r.next() {
	case 0x01:
		if r.next() == 0xd0 {
			return instruction{op: opXgetbv}
		}
	case 0xae:
		modrm := r.next()
		if op := group15(modrm); op != opNone {
			return instruction{op: op, mem: r.operand(p, modrm)}
		}
	}
	return instruction{}
}

// group15 gives the operation of 0f ae with a memory operand.
func group15(modrm byte) operation {
	if modrm>>6 == 3 {
		return opNone // a register: fences and FS/GS base
	}
	switch modrm >> 3 & 7 {
	case 2:
		return opLdmxcsr
	case 4:
		return opXsave
	case 5:
		return opXrstor
	}
	return opNone
}

// operand reads the rest of a memory operand, whose ModRM byte is modrm.
func (r *reader) operand(p prefixes, modrm byte) operand {
	mod, rm := modrm>>6, int(modrm&7)
	o := operand{segment: p.segment, base: rm | high(p.rexB), index: noRegister, scale: 1, addr32: p.addr32}
	switch {
	case rm == 4:
		r.sib(p, mod, &o)
	case rm == 5 && mod == 0:
		o.base, o.disp = ripRegister, r.disp32()
	}
	switch mod {
	case 1:
		o.disp = int32(int8(r.next()))
	case 2:
		o.disp = r.disp32()
	}
	return o
}

// sib reads a SIB byte: scale, index, base.
func (r *reader) sib(p prefixes, mod byte, o *operand) {
	b := r.next()
	o.scale = 1 << (b >> 6)
	if i := int(b>>3&7) | high(p.rexX); i != 4 { // 4, RSP, stands for none
		o.index = i
	}
	o.base = int(b&7) | high(p.rexB)
	if b&7 == 5 && mod == 0 {
		o.base, o.disp = noRegister, r.disp32()
	}
}

func (r *reader) disp32() int32 {
	var b [4]byte
	for i := range b {
		b[i] = r.next()
	}
	return int32(binary.LittleEndian.Uint32(b[:]))
}

// high is the high bit of a register's number.
func high(set bool) int {
	if set {
		return 8
	}
	return 0
}
