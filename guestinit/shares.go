package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/mvm-project/mvm/guestinit/internal/launch"
	"github.com/mvm-project/mvm/guestinit/proto"
)

// share mounts what the host serves, and returns where. The file system has the
// connection to itself from then on.
func (v *volumes) share(m proto.Mount) (string, error) {
	place := filepath.Join(v.root.dir, "shares", m.Share)
	if err := makePlace(place, m.File); err != nil {
		return "", err
	}
	c, err := connect(proto.SharesPort)
	if err != nil {
		return "", fmt.Errorf("connect to the host's folders: %w", err)
	}
	defer func() { _ = c.Close() }()
	raw, err := c.SyscallConn()
	if err != nil {
		return "", err
	}
	mount := launch.Mount{Source: "share" + m.Share, Target: place, FSType: proto.ShareFS, Flags: unix.MS_NODEV}
	if m.ReadOnly {
		mount.Flags |= unix.MS_RDONLY
	}
	var mountErr error
	err = raw.Control(func(fd uintptr) {
		mount.Data = fmt.Sprintf("trans=fd,rfdno=%d,wfdno=%d,aname=%s,%s", fd, fd, m.Share, shareOptions)
		mountErr = mount.Do()
	})
	if err := errors.Join(err, mountErr); err != nil {
		return "", fmt.Errorf("the host's folder for %s: %w", m.Path, err)
	}
	v.shares = append(v.shares, place)
	return place, nil
}

// shareOptions have Linux check who may do what, as it is the guest's users it is
// about (access=client); go to the host for each read and write, so that the two see
// each other's, but keep the pages of what is mapped (cache=mmap); and ask for a lock
// that is taken again after a second, not after thirty.
const shareOptions = "version=9p2000.L,access=client,cache=mmap,msize=262144,locktimeout=1"

// makePlace makes what a folder, or a file, can be mounted on.
func makePlace(path string, file bool) error {
	if !file {
		return os.MkdirAll(path, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, nil, 0o644)
}
