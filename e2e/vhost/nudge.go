package vhost

import (
	"io"
	"time"
)

// nudgeInterval bounds how long a lost interrupt stays lost.
const nudgeInterval = 100 * time.Millisecond

// nudge gives the machine's serial port a byte now and then until the port is
// closed, which ends with QEMU. QEMU 7.2 loses interrupts: at every exit from a
// nested guest its vCPU thread clears a bit of the pending interrupts without an
// atomic operation (do_vmexit in svm_helper.c), and so may take back one that
// another thread sets meanwhile. The local APIC then keeps a request that nobody
// looks at, and an idle processor sleeps for ever: about one suite in two did. The
// next interrupt from a device makes it look. The byte is XON, which a terminal
// neither stores nor echoes.
func nudge(serial io.WriteCloser) {
	defer serial.Close()
	for {
		if _, err := serial.Write([]byte{0x11}); err != nil {
			return
		}
		time.Sleep(nudgeInterval)
	}
}
