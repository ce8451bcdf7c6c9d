package legacy

// I8042 is what is left of the keyboard controller (ports 0x60 to 0x64): the
// command that pulses the processor's reset line, which is how Linux resets the
// machine under reboot=k. No keyboard is connected.
type I8042 struct {
	reset func()
}

const (
	i8042Command = 4    // offset of port 0x64
	i8042Reset   = 0xfe // "pulse output bit 0"
)

// NewI8042 returns a controller that calls reset when the guest asks for one.
func NewI8042(reset func()) *I8042 { return &I8042{reset} }

// Read shows empty buffers: ready for a command, no data.
func (d *I8042) Read(_ uint64, p []byte) { clear(p) }

// Write takes commands.
func (d *I8042) Write(off uint64, p []byte) {
	if off == i8042Command && p[0] == i8042Reset {
		d.reset()
	}
}
