package mmio

// Registers of the transport by offset (spec 4.2.2), each 32 bits wide.
const (
	regMagicValue        = 0x000
	regVersion           = 0x004
	regDeviceID          = 0x008
	regVendorID          = 0x00c
	regDeviceFeatures    = 0x010
	regDeviceFeaturesSel = 0x014
	regDriverFeatures    = 0x020
	regDriverFeaturesSel = 0x024
	regQueueSel          = 0x030
	regQueueNumMax       = 0x034
	regQueueNum          = 0x038
	regQueueReady        = 0x044
	regQueueNotify       = 0x050
	regInterruptStatus   = 0x060
	regInterruptACK      = 0x064
	regStatus            = 0x070
	regQueueDescLow      = 0x080
	regQueueDescHigh     = 0x084
	regQueueDriverLow    = 0x090
	regQueueDriverHigh   = 0x094
	regQueueDeviceLow    = 0x0a0
	regQueueDeviceHigh   = 0x0a4
	regSHMLenLow         = 0x0b0
	regSHMLenHigh        = 0x0b4
	regSHMBaseLow        = 0x0b8
	regSHMBaseHigh       = 0x0bc
	regConfigGeneration  = 0x0fc
	regConfig            = 0x100
)

const (
	magic    = 0x74726976 // "virt"
	version  = 2
	vendorID = 0x206d766d // "mvm "
)

// Bits of InterruptStatus.
const (
	interruptUsed   = 1 << 0
	interruptConfig = 1 << 1
)

// registers are what the driver has written since the last reset.
type registers struct {
	status            uint32 // without statusNeedsReset
	deviceFeaturesSel uint32
	driverFeaturesSel uint32
	driverFeatures    uint64
	queueSel          uint32
	queues            []queueRegisters // one per queue of the device
}

// queueRegisters describe one queue; raw, they are checked when service begins.
type queueRegisters struct {
	num               uint32
	ready             bool
	desc, avail, used uint64
}

// read returns the register at off; those that are not there read as zero.
// t.mu is held.
func (t *Transport) read(off uint64) uint32 {
	switch off {
	case regMagicValue:
		return magic
	case regVersion:
		return version
	case regDeviceID:
		return t.dev.Type()
	case regVendorID:
		return vendorID
	case regDeviceFeatures:
		return half(t.offered, t.regs.deviceFeaturesSel)
	case regQueueNumMax:
		return t.queueNumMax()
	case regQueueReady:
		if q := t.queue(); q != nil && q.ready {
			return 1
		}
	case regInterruptStatus:
		return t.interrupts.Load()
	case regStatus:
		return t.status()
	case regSHMLenLow, regSHMLenHigh, regSHMBaseLow, regSHMBaseHigh:
		return 0xffffffff // there is no shared memory region (spec 4.2.2.1)
	case regConfigGeneration:
		// No device changes its configuration, so 0 for ever.
	}
	return 0
}

// write sets the register at off if the driver may do that now (spec 3.1.1,
// 4.2.3.2); else nothing happens. t.mu is held.
func (t *Transport) write(off uint64, v uint32) {
	switch off {
	case regDeviceFeaturesSel:
		t.regs.deviceFeaturesSel = v
	case regDriverFeaturesSel:
		t.regs.driverFeaturesSel = v
	case regDriverFeatures:
		if t.regs.status == acknowledge|driver {
			setHalf(&t.regs.driverFeatures, t.regs.driverFeaturesSel, v)
		}
	case regQueueSel:
		t.regs.queueSel = v
	case regQueueNotify:
		t.kick(v)
	case regInterruptACK:
		t.interrupts.And(^v)
	case regStatus:
		t.writeStatus(v)
	default:
		if q := t.queue(); q != nil && t.regs.status == acknowledge|driver|featuresOK {
			q.write(off, v)
		}
	}
}

// write sets a register of a queue that is being set up. While it is ready only
// that can change.
func (q *queueRegisters) write(off uint64, v uint32) {
	if off == regQueueReady {
		q.ready = v == 1
		return
	}
	if q.ready {
		return
	}
	switch off {
	case regQueueNum:
		q.num = v
	case regQueueDescLow, regQueueDescHigh:
		setHalf(&q.desc, uint32(off-regQueueDescLow)/4, v)
	case regQueueDriverLow, regQueueDriverHigh:
		setHalf(&q.avail, uint32(off-regQueueDriverLow)/4, v)
	case regQueueDeviceLow, regQueueDeviceHigh:
		setHalf(&q.used, uint32(off-regQueueDeviceLow)/4, v)
	}
}

// queue is the one that QueueSel selects, nil if there is none.
func (t *Transport) queue() *queueRegisters {
	if t.regs.queueSel >= uint32(len(t.regs.queues)) {
		return nil
	}
	return &t.regs.queues[t.regs.queueSel]
}

func (t *Transport) queueNumMax() uint32 {
	if t.regs.queueSel >= uint32(len(t.sizes)) {
		return 0
	}
	return uint32(t.sizes[t.regs.queueSel])
}

// half is 32 bits of v: the low ones for 0, the high ones for 1, else zero.
func half(v uint64, sel uint32) uint32 {
	if sel > 1 {
		return 0
	}
	return uint32(v >> (32 * sel))
}

// setHalf sets what half returns.
func setHalf(p *uint64, sel, v uint32) {
	if sel > 1 {
		return
	}
	*p = *p&^(0xffffffff<<(32*sel)) | uint64(v)<<(32*sel)
}
