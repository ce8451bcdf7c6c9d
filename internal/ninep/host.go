package ninep

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// beneath opens an entry of a folder, and nothing else: a link is not followed.
func beneath(dir int, name string, flags int, mode uint32) (int, error) {
	how := unix.OpenHow{
		Flags: uint64(flags | unix.O_NOFOLLOW | unix.O_CLOEXEC), Mode: uint64(mode),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	return retried(func() (int, error) { return unix.Openat2(dir, name, &how) })
}

// tryBeneath says whether the host has openat2.
func tryBeneath(dir int) error {
	fd, err := beneath(dir, ".", unix.O_PATH, 0)
	if err != nil {
		return fmt.Errorf("openat2 beneath a shared folder (Linux 5.6 or newer has it): %w", err)
	}
	return unix.Close(fd)
}

// procPath leads to the very file that fd is of, for system calls that take no
// descriptor of O_PATH: it is no link that could be changed.
func procPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// ids say whose files are whose.
type ids struct {
	// root says that files have the owners that the guest gives them. Otherwise this
	// process can give none, and its own user is the guest's root.
	root bool
	uid  uint32
	gid  uint32
}

func ownIDs() ids {
	return ids{root: os.Geteuid() == 0, uid: uint32(os.Geteuid()), gid: uint32(os.Getegid())}
}

// nobody is whose a file is that is another user's.
const nobody = 65534

// shown is an owner, or a group, as the guest sees it.
func (i ids) shown(id, own uint32) uint32 {
	switch {
	case i.root:
		return id
	case id == own:
		return 0
	}
	return nobody
}

// noID leaves an owner as it is.
const noID = 0xffffffff

// chown gives a file an owner and a group of the guest's.
func (i ids) chown(fd int, uid, gid uint32) error {
	if i.root {
		return unix.Fchownat(fd, "", int(int32(uid)), int(int32(gid)), unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW)
	}
	if uid != noID && uid != 0 || gid != noID && gid != 0 {
		return unix.EPERM
	}
	return nil
}

// settle makes a new file the guest's user's. Without root it is ours.
func (i ids) settle(fd int, uid, gid uint32) error {
	if !i.root {
		return nil
	}
	return i.chown(fd, uid, gid)
}

// Types of a qid.
const (
	qidDir     = 0x80
	qidSymlink = 0x02
)

// qidOf names a file by its inode. Folders of a share may be on several file systems:
// a file of another than its root's is told apart by that too.
func (s *share) qidOf(st *unix.Stat_t) qid {
	q := qid{path: st.Ino}
	if st.Dev != s.dev {
		h := fnv.New64a()
		h.Write(binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, st.Dev), st.Ino))
		q.path = h.Sum64()
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		q.kind = qidDir
	case unix.S_IFLNK:
		q.kind = qidSymlink
	}
	return q
}
