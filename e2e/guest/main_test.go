// Package guest tests guestinit in a microVM, over its protocol: what it says,
// does and refuses, without mvm's side of it. Its tests run on the virtual KVM
// host, where TestGuest of package e2e takes them.
package guest

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

// TestMain leaves the tests out where they are not for: package e2e runs them.
func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv("MVM_E2E_INSIDE") == "" {
		if err := flag.Set("test.skip", "."); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	os.Exit(m.Run())
}
