package vmm

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/mvm-project/mvm/devices/ioapic"
	"github.com/mvm-project/mvm/devices/virtio"
	"github.com/mvm-project/mvm/vmm/bus"
	"github.com/mvm-project/mvm/vmm/kvm"
	"github.com/mvm-project/mvm/vmm/memory"
)

// VM is a microVM: New makes it ready for its first instruction, Run runs it to
// its end, Close gives everything back.
type VM struct {
	mem   *memory.RAM
	vm    *kvm.VM
	cpus  []*vcpu
	pio   bus.Bus // port I/O
	mmio  bus.Bus
	irqs  *ioapic.IOAPIC
	reset atomic.Bool // the guest asked for a reset

	limiters limiters
	spare    *virtio.Spare

	cleanup []func() error // in the order of making: Close goes backwards
}

// New puts a microVM together; what the guest's serial console prints goes to
// console. On error nothing is left behind.
func New(cfg Config, console io.Writer) (*VM, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	v := &VM{spare: virtio.NewSpare(max(workerProcs()-1, 1))}
	if err := v.build(cfg, console); err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return v, nil
}

// workerProcs is how many Ps of the Go scheduler there are beside the vCPUs': for
// the workers of a busy disk and a busy interface, and for all else. More than the
// host has CPUs only have threads woken in vain.
func workerProcs() int { return min(runtime.NumCPU(), 3) }

// Procs is what GOMAXPROCS should be while the VM runs: a busy vCPU keeps a P
// (docs/devices.md).
func (v *VM) Procs() int { return len(v.cpus) + workerProcs() }

// onClose registers what Close has to undo.
func (v *VM) onClose(f func() error) { v.cleanup = append(v.cleanup, f) }

// Close ends the devices and gives back every descriptor and mapping. Run must
// have returned. It is a no-op the second time.
func (v *VM) Close() error {
	var errs []error
	for i := len(v.cleanup) - 1; i >= 0; i-- {
		errs = append(errs, v.cleanup[i]())
	}
	v.cleanup = nil
	return errors.Join(errs...)
}

// Run runs every vCPU until the guest ends (ErrReset, ErrTripleFault), KVM fails
// (*ExitError), or ctx is done (its cause). All vCPUs have stopped when it
// returns.
func (v *VM) Run(ctx context.Context) error {
	ends := make(chan error, len(v.cpus))
	var wg sync.WaitGroup
	for _, c := range v.cpus {
		wg.Go(func() { ends <- c.loop() }) // ends by itself or by kick
	}
	var err error
	select {
	case err = <-ends:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	for _, c := range v.cpus {
		c.kick()
	}
	wg.Wait()
	return err
}
