package pvm

import (
	"errors"

	gokvm "github.com/bobuhiro11/gokvm/kvm"

	"github.com/mvm-project/mvm/vmm/kvm"
	"github.com/mvm-project/mvm/vmm/memory"
)

// CPU answers the exits of one vCPU that only a kvm-pvm host makes. Its methods
// are for the vCPU's thread.
type CPU struct {
	fd     *kvm.VCPU
	ram    *memory.RAM
	layout layout
	xsave  kvm.XSave // scratch
}

// New is for a vCPU of a VM with the given RAM, on a host whose KVM supports
// cpuid.
func New(fd *kvm.VCPU, ram *memory.RAM, cpuid []gokvm.CPUIDEntry2) *CPU {
	return &CPU{fd: fd, ram: ram, layout: newLayout(cpuid)}
}

// Exit answers the last exit. It reports false, and has changed nothing, for one
// that is not its own, and for an instruction it does not know.
func (c *CPU) Exit() (handled bool, err error) {
	switch c.fd.Reason() {
	case kvm.ExitIO:
		return c.call(c.fd.IO())
	case kvm.ExitInternalError:
		if code := c.fd.FailedInstruction(); code != nil {
			return c.instruction(code)
		}
	}
	return false, nil
}

// Exception vectors (Intel SDM 3A, table 6-1).
const (
	vectorBP = 3
	vectorUD = 6
	vectorGP = 13
	vectorPF = 14
)

const (
	cr0WP      = 1 << 16
	cr4LA57    = 1 << 12
	cr4OSXSave = 1 << 18
	eferLMA    = 1 << 10
)

// instruction carries out the one at RIP, which KVM could not.
func (c *CPU) instruction(code []byte) (handled bool, err error) {
	regs, err := c.fd.Regs()
	if err != nil {
		return false, err
	}
	sregs, err := c.fd.Sregs()
	if err != nil {
		return false, err
	}
	if sregs.SS.DPL != 0 {
		// The guest's programs are on their own: this one, as KVM would have it,
		// gets an illegal instruction, and the guest goes on.
		return true, c.fd.Inject(kvm.Exception{Vector: vectorUD})
	}
	in, ok := decode(code)
	if !ok || sregs.EFER&eferLMA == 0 || sregs.CS.L == 0 || sregs.CR4&cr4LA57 != 0 {
		return false, nil
	}
	x, err := c.execute(in, &regs, &sregs)
	switch {
	case errors.Is(err, errChanged):
		return true, nil // the guest tries again
	case errors.Is(err, errNotRAM):
		return false, nil // registers of a device, or page tables gone wrong
	case err != nil:
		return false, err
	case x == nil:
		regs.RIP += uint64(in.length)
		return true, c.fd.SetRegs(regs)
	}
	return true, c.raise(x, regs, sregs, in)
}

// exception is one that an instruction ends with.
type exception struct {
	kvm.Exception
	// after says that RIP is that of the next instruction: a trap.
	after bool
	cr2   uint64 // of a page fault
}

func protection() *exception {
	return &exception{Exception: kvm.Exception{Vector: vectorGP, HasCode: true}}
}

func (c *CPU) raise(x *exception, regs gokvm.Regs, sregs gokvm.Sregs, in instruction) error {
	if x.after {
		regs.RIP += uint64(in.length)
		if err := c.fd.SetRegs(regs); err != nil {
			return err
		}
	}
	if x.Vector == vectorPF {
		sregs.CR2 = x.cr2
		if err := c.fd.SetSregs(sregs); err != nil {
			return err
		}
	}
	return c.fd.Inject(x.Exception)
}

// execute does what the instruction does, but for the step to the next.
func (c *CPU) execute(in instruction, regs *gokvm.Regs, sregs *gokvm.Sregs) (*exception, error) {
	switch in.op {
	case opFwait: // no x87 exception can be pending: ring 0 unmasks none
		return nil, nil
	case opInt3:
		return &exception{Exception: kvm.Exception{Vector: vectorBP}, after: true}, nil
	case opXgetbv:
		return c.xgetbv(regs)
	case opLdmxcsr:
		return c.ldmxcsr(in, regs, sregs)
	}
	return c.xsaveOrXrstor(in, regs, sregs)
}

func (c *CPU) xgetbv(regs *gokvm.Regs) (*exception, error) {
	if uint32(regs.RCX) != 0 {
		return protection(), nil
	}
	xcr0, err := c.fd.XCR0()
	regs.RAX, regs.RDX = xcr0&0xffff_ffff, xcr0>>32
	return nil, err
}

func (c *CPU) ldmxcsr(in instruction, regs *gokvm.Regs, sregs *gokvm.Sregs) (*exception, error) {
	var v [4]byte
	area, x, err := c.operand(in, regs, sregs, len(v), false)
	if x != nil || err != nil {
		return x, err
	}
	area.readAt(v[:], 0)
	if err := c.fd.XSave(&c.xsave); err != nil {
		return nil, err
	}
	if !setMXCSR(&c.xsave, uint32(v[0])|uint32(v[1])<<8|uint32(v[2])<<16|uint32(v[3])<<24) {
		return protection(), nil
	}
	return nil, c.fd.SetXSave(&c.xsave)
}

func (c *CPU) xsaveOrXrstor(in instruction, regs *gokvm.Regs, sregs *gokvm.Sregs) (*exception, error) {
	if sregs.CR4&cr4OSXSave == 0 {
		return &exception{Exception: kvm.Exception{Vector: vectorUD}}, nil
	}
	xcr0, err := c.fd.XCR0()
	if err != nil {
		return nil, err
	}
	set := (regs.RAX&0xffff_ffff | regs.RDX<<32) & xcr0
	if address(in, regs, sregs)%xsaveAlign != 0 {
		return protection(), nil
	}
	save := in.op == opXsave
	area, x, err := c.operand(in, regs, sregs, c.layout.end(set), save)
	if x != nil || err != nil {
		return x, err
	}
	if err := c.fd.XSave(&c.xsave); err != nil {
		return nil, err
	}
	if save {
		c.layout.save(area, &c.xsave, set)
		return nil, nil
	}
	if !c.layout.restore(&c.xsave, area, set, xcr0) {
		return protection(), nil
	}
	return nil, c.fd.SetXSave(&c.xsave)
}

// operand gives the n bytes that are an instruction's memory operand.
func (c *CPU) operand(in instruction, regs *gokvm.Regs, sregs *gokvm.Sregs, n int, write bool) (span, *exception, error) {
	linear := address(in, regs, sregs)
	if !canonical(linear) || !canonical(linear+uint64(n)-1) {
		return nil, protection(), nil
	}
	sp, fault, err := newSpace(c.ram, sregs).span(linear, n, write)
	if fault != nil {
		return nil, &exception{
			Exception: kvm.Exception{Vector: vectorPF, HasCode: true, Code: fault.code},
			cr2:       fault.linear,
		}, nil
	}
	return sp, nil, err
}

func newSpace(ram *memory.RAM, sregs *gokvm.Sregs) space {
	return space{ram: ram, cr3: sregs.CR3, readOnly: sregs.CR0&cr0WP != 0}
}

// address is the linear address of an instruction's memory operand.
func address(in instruction, regs *gokvm.Regs, sregs *gokvm.Sregs) uint64 {
	o := in.mem
	a := uint64(int64(o.disp))
	switch {
	case o.base == ripRegister:
		a += regs.RIP + uint64(in.length)
	case o.base != noRegister:
		a += register(regs, o.base)
	}
	if o.index != noRegister {
		a += register(regs, o.index) * o.scale
	}
	if o.addr32 {
		a &= 0xffff_ffff
	}
	switch o.segment {
	case segFS:
		a += sregs.FS.Base
	case segGS:
		a += sregs.GS.Base
	case segFlat:
	}
	return a
}

// register is a general register by the number that instructions give it.
func register(r *gokvm.Regs, n int) uint64 {
	return [...]uint64{
		r.RAX, r.RCX, r.RDX, r.RBX, r.RSP, r.RBP, r.RSI, r.RDI,
		r.R8, r.R9, r.R10, r.R11, r.R12, r.R13, r.R14, r.R15,
	}[n]
}
