package vmm

import (
	"fmt"
	"io"

	"github.com/mvm-project/mvm/devices/blk"
	"github.com/mvm-project/mvm/devices/ioapic"
	"github.com/mvm-project/mvm/devices/legacy"
	"github.com/mvm-project/mvm/devices/rng"
	"github.com/mvm-project/mvm/devices/virtio"
	"github.com/mvm-project/mvm/devices/virtio/mmio"
	"github.com/mvm-project/mvm/devices/vsock"
	"github.com/mvm-project/mvm/ratelimit"
	"github.com/mvm-project/mvm/vmm/boot"
)

// Where devices are. The virtio transports lie in the hole below 4 GiB that the
// memory map keeps free (docs/boot.md), one page each, with an interrupt line
// each; lines below 5 belong to the PC's legacy devices.
const (
	virtioBase = 0xd000_0000
	virtioSize = 0x1000
	virtioGSI  = 5
	maxVirtio  = 19 // a container's disks (container.MaxDisks), image, layer, interface, rng and vsock

	queueNotify = 0x50 // virtio 1.2, 4.2.2: the register an ioeventfd stands for

	serialPort, serialPorts = 0x3f8, 8
	serialGSI               = 4
	i8042Port, i8042Ports   = 0x60, 5
)

// slot is where one virtio device is.
type slot struct {
	addr uint64
	gsi  int
}

func slotOf(i int) slot {
	return slot{addr: virtioBase + uint64(i)*virtioSize, gsi: virtioGSI + i}
}

// addIOAPIC gives the guest so many interrupt lines.
func (v *VM) addIOAPIC(lines int) error {
	v.irqs = ioapic.New(lines, func(m ioapic.Message) {
		_ = v.vm.SignalMSI(m.Address, m.Data) // fails if the guest named a CPU that it has not
	})
	return v.mmio.Add(boot.IOAPICAddr, ioapic.Size, v.irqs)
}

// addLegacy puts the two devices of a PC that Linux needs here on the port bus.
func (v *VM) addLegacy(console io.Writer) error {
	serial := legacy.NewSerial(console, func(level bool) {
		if level {
			v.irqs.Raise(serialGSI)
		}
	})
	if err := v.pio.Add(serialPort, serialPorts, serial); err != nil {
		return err
	}
	return v.pio.Add(i8042Port, i8042Ports, legacy.NewI8042(func() { v.reset.Store(true) }))
}

// devices opens the virtio devices of cfg, disks first: Linux names them in the
// order of their slots. Each is closed by Close.
func (v *VM) devices(cfg Config) ([]virtio.Device, error) {
	var devs []virtio.Device
	for i, d := range cfg.Disks {
		f, err := blk.OpenFile(d.Path, d.ReadOnly)
		if err != nil {
			return nil, err
		}
		v.onClose(f.Close)
		limiter := ratelimit.New(d.Limits)
		v.limiters.disks = append(v.limiters.disks, limiter)
		devs = append(devs, blk.New(f, blk.Config{ReadOnly: d.ReadOnly, ID: fmt.Sprintf("mvm%d", i), Limiter: limiter}))
	}
	for _, n := range cfg.NICs {
		d, err := v.nic(n)
		if err != nil {
			return nil, err
		}
		devs = append(devs, d)
	}
	devs = append(devs, rng.New(rng.Host{}, ratelimit.New(cfg.Entropy)))
	if cfg.Vsock != "" {
		d, err := vsock.New(GuestCID, cfg.Vsock)
		if err != nil {
			return nil, err
		}
		v.onClose(d.Close)
		devs = append(devs, d)
	}
	if len(devs) > maxVirtio {
		return nil, fmt.Errorf("vmm: %d virtio devices: at most %d fit", len(devs), maxVirtio)
	}
	return devs, nil
}

// addVirtio puts dev on the bus and wires its queues' kicks to file descriptors and
// its interrupt to the I/O APIC, so that neither passes through a vCPU thread.
func (v *VM) addVirtio(s slot, dev virtio.Device) error {
	t, err := mmio.New(dev, v.mem, v.spare, func() { v.irqs.Raise(s.gsi) })
	if err != nil {
		return err
	}
	v.onClose(t.Close)
	if err := v.mmio.Add(s.addr, virtioSize, t); err != nil {
		return err
	}
	for i, kick := range t.Kicks() {
		if err := v.vm.IOEventFD(s.addr+queueNotify, 4, uint64(i), kick); err != nil {
			return err
		}
	}
	return nil
}
