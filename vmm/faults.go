//go:build faults

package vmm

import (
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/vmm/kvm"
)

// injectFaults makes the vCPU's programs lose their FS base again and again, as
// they do on some kvm-pvm hosts now and then: for tests alone, in a program built
// with the tag faults. It interrupts the vCPU at random times until stop, which
// says on stderr how often that was; interrupted then clears the FS base.
func (c *vcpu) injectFaults() (interrupted func() error, stop func()) {
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() { // ends with quit
		defer close(ended)
		for {
			select {
			case <-time.After(700*time.Microsecond + rand.N(1500*time.Microsecond)):
				_ = unix.Tgkill(unix.Getpid(), int(c.tid.Load()), kvm.KickSignal)
			case <-quit:
				return
			}
		}
	}()
	lost := 0
	interrupted = func() error {
		s, err := c.fd.Sregs()
		if err != nil || c.pvm == nil || s.SS.DPL != 3 || s.FS.Base == 0 {
			return err
		}
		lost++
		s.FS.Base = 0
		return c.fd.SetSregs(s)
	}
	return interrupted, func() {
		close(quit)
		<-ended
		fmt.Fprintf(os.Stderr, "faults: vCPU %d lost its FS base %d times\n", c.id, lost)
	}
}
