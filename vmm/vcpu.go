package vmm

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/vmm/kvm"
	"github.com/mvm-project/mvm/vmm/pvm"
)

// vcpu is one vCPU and the thread that runs it.
type vcpu struct {
	id   int
	fd   *kvm.VCPU
	vm   *VM
	pvm  *pvm.CPU     // nil but on a kvm-pvm host
	tid  atomic.Int32 // of the thread in loop; 0 outside
	stop atomic.Bool
}

// loop runs the vCPU until the guest ends, KVM fails, or kick. Its goroutine
// keeps its thread, which ends with it: KVM binds a vCPU to a thread.
func (c *vcpu) loop() error {
	runtime.LockOSThread()
	c.tid.Store(int32(unix.Gettid()))
	defer c.tid.Store(0)
	interrupted, stop := c.injectFaults()
	defer stop()
	for idle := false; !c.stop.Load(); {
		err := c.run(idle)
		idle = false
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
			// A kick, or a signal of the Go runtime, which comes to a vCPU that has
			// not exited for long: it may sleep, and needs no P for that.
			idle = true
			if err := interrupted(); err != nil {
				return err
			}
			continue
		case err != nil:
			return c.fault("KVM_RUN: " + err.Error())
		}
		if err := c.exit(); err != nil {
			return err
		}
	}
	return nil
}

// run enters the guest. An idle one lets others have the P; an exit of a busy one
// would have to get it back first (docs/devices.md).
func (c *vcpu) run(idle bool) error {
	if idle {
		return c.fd.Run()
	}
	return c.fd.RunHolding()
}

// kick makes loop end soon, wherever the vCPU is: immediate exit catches a
// thread on its way into the guest, the signal one inside it.
func (c *vcpu) kick() {
	c.stop.Store(true)
	c.fd.SetImmediateExit(true)
	if tid := c.tid.Load(); tid != 0 {
		_ = unix.Tgkill(unix.Getpid(), int(tid), kvm.KickSignal) // the thread may just have ended
	}
}

// exit answers one exit of KVM_RUN.
func (c *vcpu) exit() error {
	if c.pvm != nil {
		if handled, err := c.pvm.Exit(); handled || err != nil {
			return err
		}
	}
	switch reason := c.fd.Reason(); reason {
	case kvm.ExitIO:
		c.io()
	case kvm.ExitMMIO:
		c.mmio()
	case kvm.ExitIntr:
	case kvm.ExitShutdown:
		return ErrTripleFault
	case kvm.ExitInternalError:
		suberror, data := c.fd.InternalError()
		return c.fault(fmt.Sprintf("%v, suberror %d (%v), data %#x", reason, uint32(suberror), suberror, data))
	case kvm.ExitFailEntry:
		return c.fault(fmt.Sprintf("%v, hardware reason %#x", reason, c.fd.FailEntry()))
	default:
		return c.fault(reason.String())
	}
	if c.vm.reset.Load() {
		return ErrReset
	}
	return nil
}

// io passes a port access on; a string instruction makes several at one port.
func (c *vcpu) io() {
	a := c.fd.IO()
	for p := a.Data; len(p) > 0; p = p[a.Size:] {
		if a.In {
			c.vm.pio.Read(uint64(a.Port), p[:a.Size])
		} else {
			c.vm.pio.Write(uint64(a.Port), p[:a.Size])
		}
	}
}

func (c *vcpu) mmio() {
	a := c.fd.MMIO()
	if a.Write {
		c.vm.mmio.Write(a.Addr, a.Data)
	} else {
		c.vm.mmio.Read(a.Addr, a.Data)
	}
}

// instructionBytes is how many bytes of code an error shows: the longest x86
// instruction.
const instructionBytes = 15

// fault is the end of a VM that KVM cannot go on with.
func (c *vcpu) fault(what string) error {
	e := &ExitError{CPU: c.id, What: what}
	regs, err := c.fd.Regs()
	if err != nil {
		return errors.Join(e, err)
	}
	sregs, err := c.fd.Sregs()
	if err != nil {
		return errors.Join(e, err)
	}
	e.RIP = regs.RIP
	for i := range uint64(instructionBytes) {
		gpa, ok := c.fd.Translate(sregs.CS.Base + e.RIP + i)
		if !ok {
			break
		}
		b, err := c.vm.mem.Slice(gpa, 1)
		if err != nil {
			break
		}
		e.Bytes = append(e.Bytes, b[0])
	}
	return e
}
