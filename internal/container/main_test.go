package container

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain is the tests, or, when a test starts this program as a VMM, a
// mvm-vmm with the fault that the test wants of it, or a command that is to be killed.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) == 2 && len(os.Args[1]) == 2*idBytes:
		actVMM()
		return
	case len(os.Args) == 4 && os.Args[1] == commandRole:
		actCommand(os.Args[2], os.Args[3])
		return
	}
	goleak.VerifyTestMain(m)
}
