package ioapic

import (
	"encoding/binary"
	"slices"
	"testing"
)

// chip is an I/O APIC, and what it has sent.
type chip struct {
	*IOAPIC
	sent []Message
}

func newChip(pins int) *chip {
	c := &chip{}
	c.IOAPIC = New(pins, func(m Message) { c.sent = append(c.sent, m) })
	return c
}

func (c *chip) get(reg byte) uint32 {
	c.Write(regSelect, []byte{reg, 0, 0, 0})
	b := make([]byte, 4)
	c.Read(regWindow, b)
	return binary.LittleEndian.Uint32(b)
}

func (c *chip) set(reg byte, v uint32) {
	c.Write(regSelect, []byte{reg, 0, 0, 0})
	c.Write(regWindow, binary.LittleEndian.AppendUint32(nil, v))
}

// program writes a pin's entry as Linux does: the high half first.
func (c *chip) program(pin byte, low, high uint32) {
	c.set(regTable+2*pin+1, high)
	c.set(regTable+2*pin, low)
}

// TestRegisters: what is written is read, as far as the chip keeps it.
func TestRegisters(t *testing.T) {
	c := newChip(8)
	for name, test := range map[string]struct {
		reg       byte
		set, want uint32
	}{
		"ID":                {regID, 0xffff_ffff, 0x0f00_0000},
		"version":           {regVersion, 0xffff_ffff, 0x0007_0011},
		"arbitration":       {2, 0xffff_ffff, 0},
		"none":              {0x0f, 0xffff_ffff, 0},
		"entry, low":        {regTable, 0xffff_ffff, 0xffff_afff},
		"entry, high":       {regTable + 1, 0xffff_ffff, 0xffff_ffff},
		"last entry":        {regTable + 15, 0xab00_0000, 0xab00_0000},
		"behind the last":   {regTable + 16, 0xffff_ffff, 0},
		"the last of index": {0xff, 0xffff_ffff, 0},
	} {
		c.set(test.reg, test.set)
		if got := c.get(test.reg); got != test.want {
			t.Errorf("%s: %#x after %#x, want %#x", name, got, test.set, test.want)
		}
	}
}

// TestWidths: accesses that Linux does not make are harmless.
func TestWidths(t *testing.T) {
	c := newChip(1)
	c.Write(regSelect, []byte{regVersion})
	b := []byte{1, 1, 1, 1, 1, 1, 1, 1}
	c.Read(regSelect, b[:1])
	if b[0] != regVersion {
		t.Errorf("the index is %#x", b[0])
	}
	c.Read(regWindow, b)
	if want := []byte{0x11, 0, 0, 0, 0, 0, 0, 0}; !slices.Equal(b, want) {
		t.Errorf("8 bytes of the version are %x, want %x", b, want)
	}
	c.Read(regWindow+1, b)
	if want := make([]byte, 8); !slices.Equal(b, want) {
		t.Errorf("between registers is %x", b)
	}
	c.Write(regWindow+1, b)
}

// TestMessage: an edge is sent as the line's entry says.
func TestMessage(t *testing.T) {
	for name, test := range map[string]struct {
		low, high uint32
		want      Message
	}{
		"to CPU 0":        {0x30, 0, Message{0xfee0_0000, 0x4030}},
		"to CPU 3":        {0x31, 3 << 24, Message{0xfee0_3000, 0x4031}},
		"logical, lowest": {0x9ff, 0xff << 24, Message{0xfeef_f004, 0x41ff}},
		"NMI":             {0x400, 0, Message{0xfee0_0000, 0x4400}},
		"level, inverted": {0xa040, 0, Message{0xfee0_0000, 0x4040}},
	} {
		c := newChip(2)
		c.program(1, test.low, test.high)
		c.Raise(1)
		if !slices.Equal(c.sent, []Message{test.want}) {
			t.Errorf("%s: sent %#x, want %#x", name, c.sent, test.want)
		}
	}
}

// TestMasked: edges on a masked line are one message when it is unmasked, and only
// then.
func TestMasked(t *testing.T) {
	c := newChip(2)
	c.Raise(1)
	c.Raise(1)
	c.program(0, 0x30, 0)
	c.program(1, 0x31|entryMasked, 0)
	if len(c.sent) != 0 {
		t.Fatalf("a masked line sent %#x", c.sent)
	}
	for range 2 {
		c.set(regTable+2, 0x31)
	}
	if want := []Message{{0xfee0_0000, 0x4031}}; !slices.Equal(c.sent, want) {
		t.Errorf("sent %#x, want %#x", c.sent, want)
	}
}

// TestRaiseDoesNotAllocate: it is on the path of every request.
func TestRaiseDoesNotAllocate(t *testing.T) {
	a := New(1, func(Message) {})
	a.Write(regSelect, []byte{regTable, 0, 0, 0})
	a.Write(regWindow, []byte{0x30, 0, 0, 0})
	if n := testing.AllocsPerRun(100, func() { a.Raise(0) }); n != 0 {
		t.Errorf("%v allocations an interrupt", n)
	}
}
