package kernel

import (
	"crypto/sha256"
	"debug/elf"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestOpen opens each kernel that make build embedded.
func TestOpen(t *testing.T) {
	root := t.TempDir()
	seen := map[string]string{}
	for _, flavour := range Flavours() {
		info, err := Open(root, flavour)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(info.Path)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%x", sha256.Sum256(b)); got != info.Digest || int64(len(b)) != info.Size {
			t.Errorf("%s: %d bytes of digest %s, and described as %d of %s", flavour, len(b), got, info.Size, info.Digest)
		}
		if info.Flavour != flavour {
			t.Errorf("%s is described as %s", flavour, info.Flavour)
		}
		if f, err := elf.Open(info.Path); err != nil || f.Machine != elf.EM_X86_64 {
			t.Errorf("%s is no x86-64 ELF file: %v", flavour, err)
		}
		if other, ok := seen[info.Digest]; ok {
			t.Errorf("%s is the same kernel as %s", flavour, other)
		}
		seen[info.Digest] = flavour
	}
}

func TestOpenUnknown(t *testing.T) {
	_, err := Open(t.TempDir(), "xen")
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`"xen"`, KVM, PVM} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %s", err, want)
		}
	}
}
