package pvm

import (
	"encoding/binary"
	"fmt"

	gokvm "github.com/bobuhiro11/gokvm/kvm"

	"github.com/mvm-project/mvm/vmm/kvm"
	"github.com/mvm-project/mvm/vmm/memory"
)

// The paravirtual calls (docs/kvm-pvm.md): an `out %al` to one of these ports in
// ring 0. They do in bulk what the guest's kernel, interpreted, is slow at.
const (
	portFill     = 0xf8
	portCopy     = 0xf9
	portUserCopy = 0xfa
	portMemmap   = 0xfb
)

// callLeaves tell a guest of the calls, so that a kernel makes none that nobody
// answers.
func callLeaves() []gokvm.CPUIDEntry2 {
	const (
		base     = 0x4000_0100 // a hypervisor's leaves begin on a multiple of 0x100
		fill     = 1 << 0
		copyRAM  = 1 << 1
		userCopy = 1 << 2
		memmap   = 1 << 3
	)
	name := func(s string) uint32 { return binary.LittleEndian.Uint32([]byte(s)) }
	return []gokvm.CPUIDEntry2{
		{Function: base, Eax: base + 1, Ebx: name("mvmp"), Ecx: name("vm-c"), Edx: name("alls")},
		{Function: base + 1, Eax: fill | copyRAM | userCopy | memmap},
	}
}

// maxUserCopy bounds one call, so that a vCPU can soon be stopped whatever the
// guest asks for; the guest's kernel goes on from there.
const maxUserCopy = 16 << 20

// call answers a paravirtual call.
func (c *CPU) call(io kvm.IO) (handled bool, err error) {
	if io.In || io.Size != 1 || io.Count != 1 || io.Port < portFill || io.Port > portMemmap {
		return false, nil
	}
	sregs, err := c.fd.Sregs()
	if err != nil {
		return false, err
	}
	if sregs.SS.DPL != 0 {
		return false, nil // a program with port access: no call for it
	}
	regs, err := c.fd.Regs()
	if err != nil {
		return false, err
	}
	switch io.Port {
	case portFill:
		return true, fill(c.ram, &regs, io.Data[0])
	case portCopy:
		return true, copyRAM(c.ram, &regs)
	case portUserCopy:
		newSpace(c.ram, &sregs).userCopy(&regs)
		return true, c.fd.SetRegs(regs)
	}
	return true, newSpace(c.ram, &sregs).memmap(&regs)
}

// fill sets RDX bytes of RAM at R8 to value.
func fill(ram *memory.RAM, regs *gokvm.Regs, value byte) error {
	b, err := ram.Slice(regs.R8, int(regs.RDX))
	if err != nil {
		return fmt.Errorf("kvm-pvm: the guest's fill call: %w", err)
	}
	if value == 0 {
		clear(b)
		return nil
	}
	for i := range b {
		b[i] = value
	}
	return nil
}

// copyRAM copies RDX bytes of RAM from R9 to R8; the two may overlap.
func copyRAM(ram *memory.RAM, regs *gokvm.Regs) error {
	to, err := ram.Slice(regs.R8, int(regs.RDX))
	if err != nil {
		return fmt.Errorf("kvm-pvm: the guest's copy call, to: %w", err)
	}
	from, err := ram.Slice(regs.R9, int(regs.RDX))
	if err != nil {
		return fmt.Errorf("kvm-pvm: the guest's copy call, from: %w", err)
	}
	copy(to, from)
	return nil
}

// userCopy copies RCX bytes from the linear address RSI to RDI and advances all
// three. It stops early where something is not mapped for it: the guest's kernel
// takes the page fault.
func (s space) userCopy(regs *gokvm.Regs) {
	for left := uint64(maxUserCopy); left > 0 && regs.RCX > 0; {
		from, ok := s.rest(regs.RSI, false)
		if !ok {
			return
		}
		to, ok := s.rest(regs.RDI, true)
		if !ok {
			return
		}
		n := min(uint64(len(from)), uint64(len(to)), regs.RCX, left)
		copy(to[:n], from[:n])
		regs.RSI, regs.RDI, regs.RCX, left = regs.RSI+n, regs.RDI+n, regs.RCX-n, left-n
	}
}

// rest is the RAM from a linear address to the end of its page.
func (s space) rest(linear uint64, write bool) ([]byte, bool) {
	if !canonical(linear) {
		return nil, false
	}
	gpa, fault, err := s.translate(linear, write)
	if fault != nil || err != nil {
		return nil, false
	}
	b, err := s.ram.Slice(gpa, int(pageSize-gpa%pageSize))
	return b, err == nil
}
