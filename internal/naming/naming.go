// Package naming has docker's rule for what containers, volumes and networks are
// called.
package naming

import "fmt"

// maxLength bounds a name, in bytes: it is a file's, too.
const maxLength = 128

// Check checks the name of something of that kind.
func Check(kind, name string) error {
	good := name != "" && len(name) <= maxLength && alphanumeric(name[0])
	for i := range len(name) {
		b := name[i]
		good = good && (alphanumeric(b) || b == '_' || b == '.' || b == '-')
	}
	if !good {
		return fmt.Errorf("bad %s name %q: want a letter or digit, then letters, digits, '_', '.' or '-', %d at most", kind, name, maxLength)
	}
	return nil
}

func alphanumeric(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9'
}
