package container

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain is the tests, or, when a test starts this program as a VMM, a
// mvm-vmm with the fault that the test wants of it.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && len(os.Args[1]) == 2*idBytes {
		actVMM()
		return
	}
	goleak.VerifyTestMain(m)
}
