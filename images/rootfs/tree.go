package rootfs

import (
	"errors"
	"fmt"
	"strings"
)

// File types and permission bits of inode.mode, as in stat(2).
const (
	typeMask = 0o170000
	typeFIFO = 0o010000
	typeChar = 0o020000
	typeDir  = 0o040000
	typeBlk  = 0o060000
	typeReg  = 0o100000
	typeLink = 0o120000
	permMask = 0o007777
)

// inode is a file of the image; a directory's children are named by it, any
// other inode may have several names.
type inode struct {
	mode     uint32
	uid, gid uint32
	nlink    uint32 // names of it; of a directory, set when it is laid out
	mtime    int64  // seconds since the Unix epoch
	nsec     uint32
	rdev     uint32 // char and block devices, as Linux's new_encode_dev
	size     int64  // bytes of a regular file
	block    uint32 // first data block of a regular file or a laid-out directory
	target   string // of a symlink
	xattrs   []xattr
	children map[string]dirent
	opaque   int // the last layer that hid what lower layers put in this directory

	nid    uint64 // place in the disk, in units of 32 bytes; 0: not laid out yet
	ino    uint32
	inline bool // data follows the inode
}

// xattr is an extended attribute: its full name, such as "user.mime", and value.
type xattr struct {
	name, value string
}

// dirent is a directory's entry; layer is the number of the last layer that
// spoke of it.
type dirent struct {
	node  *inode
	layer int
}

func (n *inode) kind() uint32 { return n.mode & typeMask }
func (n *inode) isDir() bool  { return n.kind() == typeDir }

// newDir is a directory that no layer has described: root's, 0755.
func (t *tree) newDir() *inode {
	return &inode{mode: typeDir | 0o755, children: map[string]dirent{}, opaque: t.layer}
}

// tree is the merged file system while layers are being put on it.
type tree struct {
	root  *inode
	layer int
	cost  int64              // memory, by inodeCost and the lengths of strings
	limit int64              // on cost
	steps int                // directories entered, symlinks followed
	drop  func(*inode) error // called with a file whose last name went
}

// charge counts n more bytes of memory.
func (t *tree) charge(n int) error {
	t.cost += int64(n)
	if t.cost > t.limit {
		return fmt.Errorf("the image has too many files: their names and attributes take more than %d bytes", t.limit)
	}
	return nil
}

// place is where a path ends: a name in a directory.
type place struct {
	dir  *inode
	name string
}

// errMissing says that a path's directory does not exist.
var errMissing = errors.New("no such file or directory")

// find resolves all of path but its last element. Symlinks on the way are
// followed inside the tree, ".." stops at its root. Missing directories are
// made when create is set (and stand in for whatever is no directory), else
// they are errMissing. An empty name in the result means the root itself.
func (t *tree) find(path string, create bool) (place, error) {
	if len(path) > maxPath {
		return place{}, fmt.Errorf("path of %d bytes: at most %d are allowed", len(path), maxPath)
	}
	parts := split(path)
	if len(parts) == 0 {
		return place{dir: t.root}, nil
	}
	w := walk{tree: t, stack: []*inode{t.root}, todo: parts[:len(parts)-1], create: create}
	if err := w.run(); err != nil {
		return place{}, err
	}
	return place{w.top(), strings.Clone(parts[len(parts)-1])}, nil // see newInode
}

// split cleans a path by its letters ("a/./b/../c" is "a/c") and cuts it.
func split(path string) []string {
	var parts []string
	for p := range strings.SplitSeq(path, "/") {
		switch {
		case p == "" || p == ".":
		case p != "..":
			parts = append(parts, p)
		case len(parts) > 0:
			parts = parts[:len(parts)-1]
		}
	}
	return parts
}

// walk steps through directories: stack are those from the root to here.
type walk struct {
	tree   *tree
	stack  []*inode
	todo   []string
	links  int
	create bool
}

func (w *walk) top() *inode { return w.stack[len(w.stack)-1] }

func (w *walk) run() error {
	for len(w.todo) > 0 {
		name := w.todo[0]
		w.todo = w.todo[1:]
		if err := w.step(name); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) step(name string) error {
	if w.tree.steps++; w.tree.steps > maxSteps {
		return fmt.Errorf("the image's paths lead through more than %d directories and symlinks together", maxSteps)
	}
	switch name {
	case "", ".":
		return nil
	case "..":
		if len(w.stack) > 1 {
			w.stack = w.stack[:len(w.stack)-1]
		}
		return nil
	}
	e, ok := w.top().children[name]
	switch {
	case ok && e.node.isDir():
		return w.enter(e.node)
	case ok && e.node.kind() == typeLink:
		return w.follow(e.node.target)
	case !w.create:
		return errMissing
	}
	dir := w.tree.newDir()
	if err := w.tree.put(place{w.top(), strings.Clone(name)}, dir); err != nil {
		return err
	}
	return w.enter(dir)
}

func (w *walk) enter(dir *inode) error {
	if len(w.stack) >= maxDepth {
		return fmt.Errorf("directories deeper than %d", maxDepth)
	}
	w.stack = append(w.stack, dir)
	return nil
}

func (w *walk) follow(target string) error {
	if w.links++; w.links > maxLinks {
		return fmt.Errorf("more than %d symlinks on the way (a loop?)", maxLinks)
	}
	if strings.HasPrefix(target, "/") {
		w.stack = w.stack[:1]
	}
	w.todo = append(strings.Split(target, "/"), w.todo...)
	return nil
}

// put gives n the name at p, in the layer being merged, in place of what had it.
func (t *tree) put(p place, n *inode) error {
	if len(p.name) > maxName {
		return fmt.Errorf("file name of %d bytes: at most %d are allowed", len(p.name), maxName)
	}
	if err := t.charge(inodeCost + len(p.name)); err != nil {
		return err
	}
	n.nlink++ // before the old name goes: they may be one inode
	if old, ok := p.dir.children[p.name]; ok {
		if err := t.release(old.node); err != nil {
			return err
		}
	}
	p.dir.children[p.name] = dirent{n, t.layer}
	return nil
}

// release takes one name from n, and all names below it if it is a directory.
func (t *tree) release(n *inode) error {
	for _, e := range n.children {
		if err := t.release(e.node); err != nil {
			return err
		}
	}
	if n.nlink--; n.nlink == 0 && n.kind() == typeReg {
		return t.drop(n)
	}
	return nil
}

// hide removes what lower layers put at name in dir. What this layer put there
// stays, whichever came first: a whiteout speaks of lower layers only (OCI image
// specification, layer.md, "Whiteouts").
func (t *tree) hide(dir *inode, name string) error {
	e, ok := dir.children[name]
	if !ok {
		return nil
	}
	if !e.node.isDir() {
		if e.layer == t.layer {
			return nil
		}
		delete(dir.children, name)
		return t.release(e.node)
	}
	if err := t.hideAll(e.node); err != nil {
		return err
	}
	switch {
	case e.layer == t.layer:
	case len(e.node.children) == 0:
		delete(dir.children, name)
	default: // only this layer's files keep it: a directory nobody described
		fresh := t.newDir()
		fresh.children, fresh.nlink = e.node.children, 1
		dir.children[name] = dirent{fresh, t.layer}
	}
	return nil
}

// hideAll removes what lower layers put below dir. It looks once per layer, so
// that a layer of many whiteouts costs no more than its length.
func (t *tree) hideAll(dir *inode) error {
	if dir.opaque == t.layer {
		return nil
	}
	dir.opaque = t.layer
	for name := range dir.children {
		if err := t.hide(dir, name); err != nil {
			return err
		}
	}
	return nil
}
