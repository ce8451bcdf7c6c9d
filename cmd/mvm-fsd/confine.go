package main

import (
	"fmt"
	"os"
	"strconv"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/mvm-project/mvm/internal/ninep"
)

// confine gives up all but the folders: other files, other processes, the network,
// and root's rights but those over files.
func confine(shares []ninep.Share) error {
	unix.Umask(0) // modes come from the guest, which has a mask of its own
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := restrict(shares); err != nil {
		return err
	}
	return dropRights()
}

// What a folder may be used for: nothing there is executed, and no device made.
const (
	reading = landlock.AccessFSSet(ll.AccessFSReadFile | ll.AccessFSReadDir)
	writing = landlock.AccessFSSet(ll.AccessFSWriteFile | ll.AccessFSTruncate | ll.AccessFSRemoveDir | ll.AccessFSRemoveFile |
		ll.AccessFSMakeDir | ll.AccessFSMakeReg | ll.AccessFSMakeSym | ll.AccessFSMakeFifo | ll.AccessFSMakeSock | ll.AccessFSRefer)
	ofFiles = landlock.AccessFSSet(ll.AccessFSReadFile | ll.AccessFSWriteFile | ll.AccessFSTruncate)
)

// restrict leaves of the file system what is shared, as far as the host's kernel has
// Landlock. One that has only its first version cannot rename between folders with
// it, and is not asked to.
func restrict(shares []ninep.Share) error {
	var rules []landlock.Rule
	for _, s := range shares {
		rights := reading
		if !s.ReadOnly {
			rights |= writing
		}
		var st unix.Stat_t
		if err := unix.Fstat(s.FD, &st); err != nil {
			return fmt.Errorf("shared folder: %w", err)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			rights &= ofFiles
		}
		rules = append(rules, landlock.PathAccess(rights, "/proc/self/fd/"+strconv.Itoa(s.FD)))
	}
	// In one go: a further set of rules, whatever it is about, would forbid to rename
	// and link between folders (LANDLOCK_ACCESS_FS_REFER, landlock(7)).
	if err := landlock.V6.BestEffort().Restrict(rules...); err != nil {
		return fmt.Errorf("give up the host's files: %w", err)
	}
	return nil
}

// dropRights leaves of root's rights those over the files of other users, in the
// folders: to give them away, read and write them, and change them.
func dropRights() error {
	now := cap.GetProc()
	want := cap.NewSet()
	for _, c := range []cap.Value{cap.CHOWN, cap.DAC_OVERRIDE, cap.FOWNER, cap.FSETID} {
		has, err := now.GetFlag(cap.Permitted, c)
		if err == nil && has {
			err = want.SetFlag(cap.Permitted, true, c)
		}
		if err == nil && has {
			err = want.SetFlag(cap.Effective, true, c)
		}
		if err != nil {
			return fmt.Errorf("capability %v: %w", c, err)
		}
	}
	if err := want.SetProc(); err != nil {
		return fmt.Errorf("give up root's rights: %w", err)
	}
	return nil
}
