//go:build !faults

package vmm

// injectFaults does nothing but in a build with the tag faults, for tests.
// interrupted is to be called after each signal that ended KVM_RUN.
func (c *vcpu) injectFaults() (interrupted func() error, stop func()) {
	return func() error { return nil }, func() {}
}
