package stage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/mvm-project/mvm/guestinit/archive"
	"github.com/mvm-project/mvm/guestinit/proto"
)

// archived copies files in place of a program, and does not return once PID 1
// has heard that it begins.
func archived(socket *os.File, a proto.Archive) error {
	if err := ready(-1); err != nil {
		return err
	}
	_ = socket.Close() // as an exec does
	if err := archive.Do(a, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		if errors.Is(err, fs.ErrNotExist) {
			os.Exit(2)
		}
		os.Exit(1)
	}
	os.Exit(0)
	return nil
}
