// Command folders leans on what POSIX, and Linux, say of files: in the folder it is
// given it checks owners, modes, times, links, names, removal of what is open, locks,
// mappings, attributes and lists, and says what it did.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	if len(os.Args) > 2 {
		child(os.Args[1:])
		return
	}
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: folders DIR")
		os.Exit(2)
	}
	syscall.Umask(0)
	failed := false
	for _, part := range []struct {
		name string
		do   func(c *check)
	}{
		{"modes", modes},
		{"owners", owners},
		{"permissions", permissions},
		{"times", times},
		{"links", links},
		{"names", names},
		{"unlinked", unlinked},
		{"contents", contents},
		{"mappings", mappings},
		{"locks", locks},
		{"attributes", attributes},
		{"lists", lists},
		{"special", special},
	} {
		c := &check{dir: filepath.Join(os.Args[1], part.name)}
		c.ok(os.Mkdir(c.dir, 0o777), "mkdir")
		part.do(c)
		c.ok(os.RemoveAll(c.dir), "remove all")
		if c.failed {
			failed = true
			continue
		}
		fmt.Println(part.name, "ok")
	}
	if failed {
		os.Exit(1)
	}
}

// check looks at one part, in a folder of its own.
type check struct {
	dir    string
	failed bool
}

// at is a path in the folder.
func (c *check) at(name string) string { return filepath.Join(c.dir, name) }

// that says so if something is not as it should be.
func (c *check) that(good bool, format string, args ...any) {
	if !good {
		c.failed = true
		fmt.Printf("%s: %s\n", filepath.Base(c.dir), fmt.Sprintf(format, args...))
	}
}

// ok says so if an operation failed.
func (c *check) ok(err error, what string) {
	c.that(err == nil, "%s: %v", what, err)
}

// fails says so if an operation did not fail as it should.
func (c *check) fails(err, want error, what string) {
	c.that(errors.Is(err, want), "%s: %v, want %v", what, err, want)
}

// file makes a file.
func (c *check) file(name, text string) *os.File {
	f, err := os.OpenFile(c.at(name), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	c.ok(err, "make "+name)
	_, err = f.WriteString(text)
	c.ok(err, "write "+name)
	return f
}

// text reads a file.
func (c *check) text(name string) string {
	b, err := os.ReadFile(c.at(name))
	c.ok(err, "read "+name)
	return string(b)
}

// stat looks at a file, or at a link itself.
func (c *check) stat(name string) (st syscall.Stat_t) {
	c.ok(syscall.Lstat(c.at(name), &st), "stat "+name)
	return st
}

// long is a name of n bytes.
func long(n int) string { return strings.Repeat("n", n) }
