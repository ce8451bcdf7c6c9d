package launch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/mvm-project/mvm/guestinit/archive"
	"github.com/mvm-project/mvm/guestinit/proto"
)

// ArchiveName is the argument that makes guestinit a process that copies files, as
// the next argument, JSON, tells it.
const ArchiveName = "archive"

// archive has the child become that process.
func (l *Launch) archive(a proto.Archive) error {
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	l.self([]string{"/init", ArchiveName, string(text)}, nil)
	return nil
}

// Archive does not return: it copies files.
func Archive(args []string) {
	var a proto.Archive
	err := errors.New("an argument is missing")
	if len(args) == 1 {
		err = json.Unmarshal([]byte(args[0]), &a)
	}
	if err == nil {
		err = archive.Do(a, os.Stdin, os.Stdout)
	}
	switch {
	case err == nil:
		os.Exit(0)
	case errors.Is(err, fs.ErrNotExist):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
