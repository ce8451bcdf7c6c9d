// Package legacy holds the two devices of a PC that a microVM still needs: a
// serial port for the kernel's last words, and the keyboard controller, whose
// one use is to reset the machine. Both are handlers of a port bus.
package legacy

import (
	"io"
	"sync"
)

// Registers of a 16550 UART (National Semiconductor PC16550D, table II), by
// offset from its first port.
const (
	regData = 0 // transmit and receive; divisor low byte with DLAB
	regIER  = 1 // interrupt enable; divisor high byte with DLAB
	regIIR  = 2 // read: interrupt identification; write: FIFO control
	regLCR  = 3 // line control
	regMCR  = 4 // modem control
	regLSR  = 5 // line status
	regMSR  = 6 // modem status
	regSCR  = 7 // scratch

	ierTHRE = 1 << 1 // interrupt when the transmitter is empty
	iirNone = 1 << 0 // no interrupt is pending
	iirTHRE = 1 << 1
	iirFIFO = 3 << 6
	fcrFIFO = 1 << 0 // FIFO control: enabled
	lcrDLAB = 1 << 7
	mcrLoop = 1 << 4
	lsrIdle = 3 << 5 // transmitter and its holding register are empty

	msrConnected = 0xb0 // carrier, data set ready, clear to send
)

// Serial is a 16550 that only transmits: what the guest writes goes to an
// io.Writer at once. Guests of any kind may probe it, and a stock kernel's
// interrupt-driven console works.
type Serial struct {
	out io.Writer
	irq func(level bool)

	mu                 sync.Mutex
	ier, lcr, mcr, scr byte
	fifo               bool
	divisor            [2]byte
	empty              bool // the transmitter became empty, not yet told
	level              bool // of the interrupt line
}

// NewSerial returns a port that writes to out and drives its interrupt line by
// irq. Errors of out are ignored: a console is not worth a VM.
func NewSerial(out io.Writer, irq func(level bool)) *Serial {
	return &Serial{out: out, irq: irq}
}

// Read reads registers; several bytes read as many registers in turn.
func (s *Serial) Read(off uint64, p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range p {
		p[i] = s.read(int(off) + i)
	}
	s.update()
}

// Write writes registers.
func (s *Serial) Write(off uint64, p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, v := range p {
		s.write(int(off)+i, v)
	}
	s.update()
}

func (s *Serial) read(reg int) byte {
	dlab := s.lcr&lcrDLAB != 0
	switch {
	case dlab && (reg == regData || reg == regIER):
		return s.divisor[reg]
	case reg == regIER:
		return s.ier
	case reg == regIIR:
		return s.identify()
	case reg == regLCR:
		return s.lcr
	case reg == regMCR:
		return s.mcr
	case reg == regLSR:
		return lsrIdle
	case reg == regMSR:
		return s.modemStatus()
	case reg == regSCR:
		return s.scr
	}
	return 0 // nothing is ever received
}

func (s *Serial) write(reg int, v byte) {
	dlab := s.lcr&lcrDLAB != 0
	switch {
	case dlab && (reg == regData || reg == regIER):
		s.divisor[reg] = v
	case reg == regData:
		s.transmit(v)
	case reg == regIER:
		// Enabling the interrupt on an empty transmitter raises it.
		s.empty = s.empty || v&^s.ier&ierTHRE != 0
		s.ier = v & 0xf
	case reg == regIIR:
		s.fifo = v&fcrFIFO != 0
	case reg == regLCR:
		s.lcr = v
	case reg == regMCR:
		s.mcr = v & 0x1f
	case reg == regSCR:
		s.scr = v
	}
}

func (s *Serial) transmit(v byte) {
	if s.mcr&mcrLoop == 0 {
		_, _ = s.out.Write([]byte{v})
	}
	s.empty = true
}

// identify reads the IIR, which takes the transmitter's interrupt back.
func (s *Serial) identify() byte {
	v := byte(iirNone)
	if s.pending() {
		v, s.empty = iirTHRE, false
	}
	if s.fifo {
		v |= iirFIFO
	}
	return v
}

func (s *Serial) pending() bool { return s.ier&ierTHRE != 0 && s.empty }

// modemStatus shows a connected line, or in loopback the modem control outputs
// (DTR, RTS, OUT1, OUT2 as DSR, CTS, RI, DCD).
func (s *Serial) modemStatus() byte {
	if s.mcr&mcrLoop == 0 {
		return msrConnected
	}
	m := s.mcr
	return m&1<<5 | m&2<<3 | m&4<<4 | m&8<<4
}

// update brings the interrupt line up to date.
func (s *Serial) update() {
	if level := s.pending(); level != s.level {
		s.level = level
		s.irq(level)
	}
}
