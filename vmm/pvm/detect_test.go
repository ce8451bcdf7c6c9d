package pvm

import (
	"testing"
	"testing/fstest"
)

// TestDetectBySysfs is a host that needs no probe: it need not even have a
// /dev/kvm.
func TestDetectBySysfs(t *testing.T) {
	for _, module := range []string{"kvm_intel", "kvm_amd"} {
		sys := fstest.MapFS{"module/" + module + "/parameters/nested": {}}
		if got, err := Detect(sys); got || err != nil {
			t.Errorf("%s: %v, %v", module, got, err)
		}
	}
}
