package ioapic

import "testing"

// FuzzRegisters is a guest that does as data says, 6 bytes a step: which access or
// line, how wide, and the value. Whatever it does, a message goes to the addresses
// of local APICs, and an edge is one message: at once, or when the line is unmasked.
func FuzzRegisters(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		const pins = 4
		sent := 0
		a := New(pins, func(m Message) {
			sent++
			if m.Address>>20 != messageAddress>>20 || m.Data>>15 != 0 {
				t.Fatalf("message %#x to %#x", m.Data, m.Address)
			}
		})
		raised := 0
		for ; len(data) >= 6; data = data[6:] {
			off, width := uint64(data[0]), int(data[1]%9)
			switch data[0] >> 6 {
			case 0:
				a.Write(off, data[2:][:min(width, 4)])
			case 1:
				a.Read(off&0x3f, make([]byte, width))
			default:
				a.Raise(int(data[1]) % pins)
				raised++
			}
			if sent > raised {
				t.Fatalf("%d messages of %d edges", sent, raised)
			}
		}
		before := sent
		a.Write(regSelect, []byte{regTable, 0, 0, 0})
		a.Write(regWindow, []byte{0x30, 0, 0, 0})
		a.Raise(0)
		if sent == before {
			t.Fatal("an unmasked line sends nothing")
		}
	})
}
