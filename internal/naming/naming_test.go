package naming

import (
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	for _, name := range []string{"a", "Z9", "0", "a_b.c-d", strings.Repeat("x", 128)} {
		if err := Check("volume", name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", "-a", ".", "..", "_", "a/b", "a b", "a\n", "é", "a\x00", strings.Repeat("x", 129)} {
		if err := Check("volume", name); err == nil || !strings.HasPrefix(err.Error(), "bad volume name ") {
			t.Errorf("%q: %v", name, err)
		}
	}
}
