// Package ioapic is the I/O APIC: the chip that turns a rising interrupt line into
// a message to a local APIC, as the guest has programmed it (Intel 82093AA
// datasheet, May 1996). It takes the place of the one in the host's kernel, which
// would give every guest a PIC too.
package ioapic

import (
	"encoding/binary"
	"sync"
)

// Size is how many bytes of guest-physical address space the chip takes.
const Size = 0x20

// Memory-mapped registers by offset (3.1), both of 32 bits.
const (
	regSelect = 0x00
	regWindow = 0x10
)

// Registers behind the window (3.2).
const (
	regID      = 0x00
	regVersion = 0x01
	regTable   = 0x10 // two registers a pin: the low half of its entry, and the high

	version  = 0x11
	idMask   = 0x0f00_0000
	pinShift = 16
)

// An entry of the redirection table (3.2.4). Two of its bits only the chip sets,
// and this one never does: a message is delivered at once, and a level is not
// waited for, since every line is an edge.
const (
	entryVector   = 0xff
	entryDelivery = 7 << 8
	entryLogical  = 1 << 11
	entryStatus   = 1 << 12
	entryRemote   = 1 << 14
	entryMasked   = 1 << 16
	entryDest     = 56
	entryReadOnly = entryStatus | entryRemote
)

// A message as a PCI device would send it (Intel SDM volume 3, 11.11).
const (
	messageAddress = 0xfee0_0000
	messageDest    = 12
	messageLogical = 1 << 2
	messageAssert  = 1 << 14
)

// Message is an interrupt on its way to local APICs: what is written, and where.
type Message struct{ Address, Data uint32 }

// IOAPIC is the chip. Any number of goroutines may use it at once.
type IOAPIC struct {
	send func(Message)

	mu    sync.Mutex // guards what follows
	id    uint32
	index byte // of the register behind the window
	pins  []pin
}

type pin struct {
	entry   uint64
	pending bool // it rose while it was masked
}

// New returns a chip of so many pins, of which its registers can name 120, all of them
// masked. It calls send for each message, on the goroutine that raised the line or unmasked it.
func New(pins int, send func(Message)) *IOAPIC {
	a := &IOAPIC{send: send, pins: make([]pin, pins)}
	for i := range a.pins {
		a.pins[i].entry = entryMasked
	}
	return a
}

// Raise is an edge on a line. One on a masked line is not lost, as the datasheet
// has it, but sent when the guest unmasks it: so do KVM and QEMU, and a device
// that has said something need not say it again.
func (a *IOAPIC) Raise(line int) {
	a.mu.Lock()
	p := &a.pins[line]
	m, ok := p.rise()
	a.mu.Unlock()
	if ok {
		a.send(m)
	}
}

func (p *pin) rise() (Message, bool) {
	p.pending = p.entry&entryMasked != 0
	if p.pending {
		return Message{}, false
	}
	m := Message{
		Address: messageAddress | uint32(p.entry>>entryDest)<<messageDest,
		Data:    uint32(p.entry)&(entryVector|entryDelivery) | messageAssert,
	}
	if p.entry&entryLogical != 0 {
		m.Address |= messageLogical
	}
	return m, true
}

// Read fills b from a register: 32 bits, of which a wider access reads zero
// beyond and a narrower one the first.
func (a *IOAPIC) Read(off uint64, b []byte) {
	var v [8]byte
	a.mu.Lock()
	switch off {
	case regSelect:
		v[0] = a.index
	case regWindow:
		binary.LittleEndian.PutUint32(v[:], a.read())
	}
	a.mu.Unlock()
	copy(b, v[:])
}

func (a *IOAPIC) read() uint32 {
	switch a.index {
	case regID:
		return a.id
	case regVersion:
		return version | uint32(len(a.pins)-1)<<pinShift
	}
	if p, shift := a.selected(); p != nil {
		return uint32(p.entry >> shift)
	}
	return 0 // the arbitration ID, and what is not there
}

// selected is the pin whose entry is behind the window, and how far its bits there
// are from the entry's first; nil if none is.
func (a *IOAPIC) selected() (p *pin, shift int) {
	if i := (int(a.index) - regTable) / 2; a.index >= regTable && i < len(a.pins) {
		return &a.pins[i], int(a.index) % 2 * 32
	}
	return nil, 0
}

// Write sets the register at off from b, as Read reads it.
func (a *IOAPIC) Write(off uint64, b []byte) {
	var v [8]byte
	copy(v[:], b)
	a.mu.Lock()
	m, ok := a.write(off, binary.LittleEndian.Uint32(v[:]))
	a.mu.Unlock()
	if ok {
		a.send(m)
	}
}

func (a *IOAPIC) write(off uint64, v uint32) (Message, bool) {
	switch {
	case off == regSelect:
		a.index = byte(v)
	case off == regWindow && a.index == regID:
		a.id = v & idMask
	case off == regWindow:
		if p, shift := a.selected(); p != nil {
			return p.set(shift, v)
		}
	}
	return Message{}, false
}

// set writes one half of the entry.
func (p *pin) set(shift int, v uint32) (Message, bool) {
	const half = 0xffff_ffff
	p.entry = (p.entry&^(half<<shift) | uint64(v)<<shift) &^ entryReadOnly
	if !p.pending {
		return Message{}, false
	}
	return p.rise()
}
