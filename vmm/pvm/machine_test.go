package pvm

import (
	"testing"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
	"github.com/google/go-cmp/cmp"
)

func TestCPUID(t *testing.T) {
	supported := []gokvm.CPUIDEntry2{
		{Function: 1, Ecx: 1 << 23},
		{Function: leafKVMFeatures, Eax: 0x01007efb},
	}
	want := []gokvm.CPUIDEntry2{
		supported[0],
		{Function: leafKVMFeatures, Eax: 0x0100106b},
		{Function: 0x4000_0100, Eax: 0x4000_0101, Ebx: 0x706d766d, Ecx: 0x632d6d76, Edx: 0x736c6c61}, // "mvmpvm-calls"
		{Function: 0x4000_0101, Eax: 0xf},
	}
	if d := cmp.Diff(want, CPUID(supported)); d != "" {
		t.Error(d)
	}
	if supported[1].Eax != 0x01007efb {
		t.Error("the input was changed")
	}
}
