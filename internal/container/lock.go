package container

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/internal/folder"
)

// errBusy says that another process works on what was to be locked.
var errBusy = errors.New("in use by another mvm command")

// lockDir takes the flock of a folder, or returns errBusy at once; wait waits.
// Closing the file, or the end of the process, gives it back.
func lockDir(path string, wait bool) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	err = folder.Flock(f, how)
	if err == nil && removed(f) {
		err = os.ErrNotExist
	}
	if err == nil {
		return f, nil
	}
	_ = f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, errBusy
	}
	return nil, fmt.Errorf("lock %s: %w", path, err)
}

// removed says whether an open folder has lost its name.
func removed(f *os.File) bool {
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) == nil && st.Nlink == 0
}
