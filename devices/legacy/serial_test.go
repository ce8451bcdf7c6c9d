package legacy

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"
)

// port is a serial port under test, with what it printed and the levels its
// interrupt line took.
type port struct {
	*Serial
	out    bytes.Buffer
	levels []bool
}

func newPort() *port {
	p := &port{}
	p.Serial = NewSerial(&p.out, func(level bool) { p.levels = append(p.levels, level) })
	return p
}

func (p *port) get(reg uint64) byte {
	b := []byte{0xaa}
	p.Read(reg, b)
	return b[0]
}

func (p *port) set(reg uint64, v byte) { p.Write(reg, []byte{v}) }

// TestRegisters: what is written is read, as far as a 16550 keeps it.
func TestRegisters(t *testing.T) {
	p := newPort()
	for _, c := range []struct {
		reg       uint64
		set, want byte
	}{
		{regIER, 0xff, 0x0f},
		{regLCR, 0x7f, 0x7f},
		{regMCR, 0xff, 0x1f},
		{regSCR, 0xa5, 0xa5},
		{regLSR, 0, lsrIdle},
		{regLSR, 0xff, lsrIdle},
	} {
		p.set(c.reg, c.set)
		if got := p.get(c.reg); got != c.want {
			t.Errorf("register %d reads %#x after %#x, want %#x", c.reg, got, c.set, c.want)
		}
	}
	p.set(regMCR, 0)
	if got := p.get(regMSR); got != msrConnected {
		t.Errorf("modem status %#x", got)
	}
	if got := p.get(regData); got != 0 {
		t.Errorf("received %#x", got)
	}
}

// TestDivisor: with DLAB the first two registers are the divisor, and nothing is
// transmitted.
func TestDivisor(t *testing.T) {
	p := newPort()
	p.set(regIER, 1)
	p.set(regLCR, lcrDLAB|3)
	p.Write(regData, []byte{0x34, 0x12})
	if low, high := p.get(regData), p.get(regIER); low != 0x34 || high != 0x12 {
		t.Errorf("divisor %#x %#x", high, low)
	}
	p.set(regLCR, 3)
	if ier := p.get(regIER); ier != 1 || p.out.Len() != 0 {
		t.Errorf("interrupt enable %#x, transmitted %q", ier, p.out.String())
	}
}

// TestProbe is Linux's test of a port (autoconfig in 8250_port.c): loopback shows
// the outputs as inputs, and transmits nothing.
func TestProbe(t *testing.T) {
	p := newPort()
	for mcr, msr := range map[byte]byte{0x1a: 0x90, 0x1f: 0xf0, 0x10: 0, 0x11: 0x20, 0x12: 0x10, 0x14: 0x40, 0x18: 0x80} {
		p.set(regMCR, mcr)
		if got := p.get(regMSR); got != msr {
			t.Errorf("loopback of %#x shows %#x, want %#x", mcr, got, msr)
		}
	}
	p.set(regData, 'x')
	if p.out.Len() != 0 {
		t.Error("loopback transmits")
	}
	p.set(regMCR, 0)
	if p.set(regIIR, fcrFIFO); p.get(regIIR) != iirFIFO|iirNone {
		t.Errorf("identification %#x with FIFOs", p.get(regIIR))
	}
	if p.set(regIIR, 0); p.get(regIIR) != iirNone {
		t.Errorf("identification %#x without", p.get(regIIR))
	}
}

// TestInterrupt: the line is high while the transmitter's interrupt is enabled
// and pending; only changes reach it.
func TestInterrupt(t *testing.T) {
	p := newPort()
	p.set(regData, 'a') // not enabled: no interrupt
	p.set(regIER, ierTHRE)
	p.set(regIER, ierTHRE) // again: no change
	if got := p.get(regIIR); got != iirTHRE {
		t.Errorf("identification %#x", got)
	}
	if got := p.get(regIIR); got != iirNone { // reading took it back
		t.Errorf("identification %#x", got)
	}
	p.set(regData, 'b')
	p.set(regData, 'c') // still high
	p.set(regIER, 0)
	p.set(regIER, ierTHRE)
	p.set(regIER, 0)
	if want := []bool{true, false, true, false, true, false}; !slices.Equal(p.levels, want) {
		t.Errorf("levels %v, want %v", p.levels, want)
	}
	if p.out.String() != "abc" {
		t.Errorf("transmitted %q", p.out.String())
	}
}

// TestAnyAccess: the line is what the registers say, after any accesses.
func TestAnyAccess(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPort()
		for range rapid.IntRange(1, 50).Draw(t, "accesses") {
			reg := rapid.Uint64Range(0, 7).Draw(t, "register")
			b := rapid.SliceOfN(rapid.Byte(), 1, int(8-reg)).Draw(t, "bytes")
			if rapid.Bool().Draw(t, "write") {
				p.Write(reg, b)
			} else {
				p.Read(reg, b)
			}
			high := len(p.levels)%2 == 1 // from low, by changes only
			if high != p.pending() || len(p.levels) > 0 && p.levels[len(p.levels)-1] != high {
				t.Fatalf("levels %v, pending %v", p.levels, p.pending())
			}
		}
	})
}

// TestBrokenConsole: a console that fails is not worth a VM.
func TestBrokenConsole(_ *testing.T) {
	r, w := io.Pipe()
	_ = r.Close()
	s := NewSerial(w, func(bool) {})
	s.Write(regData, []byte{'x'})
}

func TestI8042(t *testing.T) {
	resets := 0
	d := NewI8042(func() { resets++ })
	for off := range uint64(5) {
		p := []byte{0xff, 0xff}
		if d.Read(off, p[:1]); p[0] != 0 {
			t.Errorf("port %#x reads %#x", 0x60+off, p[0])
		}
		for v := range 256 {
			if off != i8042Command || v != i8042Reset {
				d.Write(off, []byte{byte(v)})
			}
		}
	}
	if resets != 0 {
		t.Errorf("%d resets that nobody asked for", resets)
	}
	if d.Write(i8042Command, []byte{i8042Reset}); resets != 1 {
		t.Error("no reset")
	}
}

func TestTail(t *testing.T) {
	for _, c := range []struct {
		max    int
		writes []string
		want   string
	}{
		{10, nil, ""},
		{10, []string{"short\n"}, "short\n"},
		{10, []string{"0123456789"}, "0123456789"},
		{10, []string{"first\n", "second\n"}, "second\n"},
		{10, []string{"a line longer than all"}, "r than all"},
		{10, []string{"first\nsecond\nthird\n"}, "third\n"},
		{4, []string{"ab", "cd", "ef", "gh", "ij"}, "ghij"},
		{20, []string{"\x1b[2Jred\a\r\n\tx\x00"}, "[2Jred\n\tx"},
		{20, []string{"\xff\xfe\u202eok"}, "\uFFFDok"},
	} {
		tail := NewTail(c.max)
		for _, w := range c.writes {
			if n, err := io.WriteString(tail, w); n != len(w) || err != nil {
				t.Errorf("wrote %d, %v", n, err)
			}
		}
		if got := tail.String(); got != c.want {
			t.Errorf("the last %d bytes of %q: %q, want %q", c.max, c.writes, got, c.want)
		}
	}
}

// TestTailIsBounded: it shows an end of what was written, of bounded size, and
// holds no more than twice that.
func TestTailIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tail := NewTail(rapid.IntRange(1, 40).Draw(t, "max"))
		var all strings.Builder
		for _, w := range rapid.SliceOf(rapid.StringMatching(`[a-z\n]{0,60}`)).Draw(t, "writes") {
			all.WriteString(w)
			if _, err := io.WriteString(tail, w); err != nil {
				t.Fatal(err)
			}
			got := tail.String()
			if !strings.HasSuffix(all.String(), got) || len(got) > tail.max || len(tail.buf) > 2*tail.max {
				t.Fatalf("%q after %q, %d bytes held", got, all.String(), len(tail.buf))
			}
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		tail := NewTail(100)
		if _, err := tail.Write(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")); err != nil {
			t.Fatal(err)
		}
		for _, r := range tail.String() {
			if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
				t.Fatalf("%q obeys", r)
			}
		}
	})
}
