// Package hostfs is which folders of the host a container has, and how mvm, mvm-fsd
// and mvm-vmm tell each other of them.
package hostfs

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Order is what mvm-fsd is to be, as JSON.
type Order struct {
	// Socket is the Unix socket it listens on, in its working directory.
	Socket string
	// Folders are those it serves: by O_PATH, from file descriptor sidecar.More on.
	Folders []Folder
}

// Folder is a folder of the host's, or a single file.
type Folder struct {
	ReadOnly bool `json:",omitempty"`
}

// Open opens what is to be shared, without reading it; file says that it is no folder.
func Open(path string) (f *os.File, file bool, err error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, false, fmt.Errorf("share %s with the container: %w", path, err)
	}
	f = os.NewFile(uintptr(fd), path)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		f.Close()
		return nil, false, fmt.Errorf("share %s with the container: %w", path, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return f, false, nil
	case unix.S_IFREG:
		return f, true, nil
	}
	f.Close()
	return nil, false, fmt.Errorf("share %s with the container: it is neither a folder nor a regular file", path)
}
