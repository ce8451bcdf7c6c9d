package pvm

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/arch/x86/x86asm"
)

func flat(base int, disp int32) operand {
	return operand{base: base, index: noRegister, scale: 1, disp: disp}
}

func TestDecode(t *testing.T) {
	for _, test := range []struct {
		name string
		code []byte
		want instruction
	}{
		{"fwait", []byte{0x9b, 0x90}, instruction{op: opFwait, length: 1}},
		{"int3", []byte{0xcc}, instruction{op: opInt3, length: 1}},
		{"xgetbv", []byte{0x0f, 0x01, 0xd0, 0xc3}, instruction{op: opXgetbv, length: 3}},
		{"xsave (rdi)", []byte{0x0f, 0xae, 0x27}, instruction{op: opXsave, length: 3, mem: flat(7, 0)}},
		{"xsave64 (rdi)", []byte{0x48, 0x0f, 0xae, 0x27}, instruction{op: opXsave, length: 4, mem: flat(7, 0)}},
		{"xrstor64 (r12)", []byte{0x49, 0x0f, 0xae, 0x2c, 0x24}, instruction{op: opXrstor, length: 5, mem: flat(12, 0)}},
		{"xrstor64 -64(r13)", []byte{0x49, 0x0f, 0xae, 0x6d, 0xc0}, instruction{op: opXrstor, length: 5, mem: flat(13, -64)}},
		{
			"xsave64 0x1440(rbx,r12,8)",
			[]byte{0x4a, 0x0f, 0xae, 0xa4, 0xe3, 0x40, 0x14, 0, 0},
			instruction{op: opXsave, length: 9, mem: operand{base: 3, index: 12, scale: 8, disp: 0x1440}},
		},
		{"xrstor 0x100(rip)", []byte{0x0f, 0xae, 0x2d, 0, 1, 0, 0}, instruction{op: opXrstor, length: 7, mem: flat(ripRegister, 0x100)}},
		{"ldmxcsr 4(rsp)", []byte{0x0f, 0xae, 0x54, 0x24, 4}, instruction{op: opLdmxcsr, length: 5, mem: flat(4, 4)}},
		{
			"ldmxcsr gs:0x1000",
			[]byte{0x65, 0x0f, 0xae, 0x14, 0x25, 0, 0x10, 0, 0},
			instruction{op: opLdmxcsr, length: 9, mem: operand{segment: segGS, base: noRegister, index: noRegister, scale: 1, disp: 0x1000}},
		},
		{
			"xsave fs:(eax)",
			[]byte{0x64, 0x67, 0x0f, 0xae, 0x20},
			instruction{op: opXsave, length: 5, mem: operand{segment: segFS, base: 0, index: noRegister, scale: 1, addr32: true}},
		},
	} {
		got, ok := decode(test.code)
		if d := cmp.Diff(test.want, got, cmp.AllowUnexported(instruction{}, operand{})); !ok || d != "" {
			t.Errorf("%s: %v, %s", test.name, ok, d)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, code := range map[string][]byte{
		"nothing":             {},
		"half of xgetbv":      {0x0f, 0x01},
		"half of an operand":  {0x0f, 0xae, 0xa4, 0xe3, 0x40},
		"prefixes alone":      {0x66, 0x66, 0x66},
		"too many prefixes":   {0x65, 0x65, 0x65, 0x65, 0x65, 0x65, 0x65, 0x65, 0x65, 0x65, 0x65, 0x65, 0x65, 0x0f, 0xae, 0x27},
		"lock xsave":          {0xf0, 0x0f, 0xae, 0x27},
		"clwb":                {0x66, 0x0f, 0xae, 0x37},
		"xsaveopt":            {0x0f, 0xae, 0x37},
		"xsavec":              {0x0f, 0xc7, 0x27},
		"xrstors":             {0x0f, 0xc7, 0x1f},
		"mfence":              {0x0f, 0xae, 0xf0},
		"wrfsbase":            {0xf3, 0x48, 0x0f, 0xae, 0xd0},
		"ptwrite (rdi)":       {0xf3, 0x0f, 0xae, 0x27},
		"vmcall":              {0x0f, 0x01, 0xc1},
		"vmovdqu ymm0, (rsi)": {0xc5, 0xfe, 0x6f, 0x06},
		"nop":                 {0x90},
	} {
		if in, ok := decode(code); ok {
			t.Errorf("%s: decoded as %+v", name, in)
		}
	}
}

// FuzzDecode compares with Go's disassembler.
func FuzzDecode(f *testing.F) {
	for _, seed := range [][]byte{
		{0x9b},
		{0xcc},
		{0x0f, 0x01, 0xd0},
		{0x48, 0x0f, 0xae, 0x27},
		{0x49, 0x0f, 0xae, 0x6d, 0xc0},
		{0x4a, 0x0f, 0xae, 0xa4, 0xe3, 0x40, 0x14, 0, 0},
		{0x0f, 0xae, 0x2d, 0, 1, 0, 0},
		{0x65, 0x0f, 0xae, 0x14, 0x25, 0, 0x10, 0, 0},
		{0x64, 0x67, 0x0f, 0xae, 0x20},
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, code []byte) {
		in, ok := decode(code)
		if !ok {
			return
		}
		if in.length < 1 || in.length > min(len(code), maxLength) {
			t.Fatalf("[% x]: length %d", code, in.length)
		}
		// Go's disassembler reads fwait, which it takes for a prefix, and prefixes
		// of no effect in its own way.
		want, err := x86asm.Decode(code, 64)
		if in.op == opFwait || err != nil {
			return
		}
		if want.Len != in.length {
			t.Errorf("[% x]: length %d, Go's disassembler says %d: %v", code, in.length, want.Len, want)
		}
		if m, isMem := want.Args[0].(x86asm.Mem); isMem {
			compare(t, code, in.mem, m)
		}
	})
}

// compare compares a memory operand with the disassembler's.
func compare(t *testing.T, code []byte, got operand, want x86asm.Mem) {
	t.Helper()
	number := func(r x86asm.Reg) int {
		switch {
		case r == 0:
			return noRegister
		case r == x86asm.RIP || r == x86asm.EIP:
			return ripRegister
		case r >= x86asm.RAX:
			return int(r - x86asm.RAX)
		}
		return int(r - x86asm.EAX)
	}
	scale := uint64(max(want.Scale, 1))
	if got.index == noRegister {
		scale = got.scale // of no register
	}
	if got.base != number(want.Base) || got.index != number(want.Index) || got.scale != scale || int64(got.disp) != want.Disp {
		t.Errorf("[% x]: operand %+v, Go's disassembler says %+v", code, got, want)
	}
}
