package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// placeIn is the path of a folder, or a file, to mount on, of a container whose root
// is at root. Links lead to places within it, and what is missing is made.
func placeIn(root, path string, file bool) (string, error) {
	top, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer func() { _ = unix.Close(top) }()
	open := openFolder
	if file {
		open = openFile
	}
	place, err := open(top, filepath.Join("/", path))
	if err != nil {
		return "", err
	}
	defer func() { _ = unix.Close(place) }()
	return os.Readlink(fmt.Sprintf("%s/self/fd/%d", procDir, place))
}

// inRoot opens a path within a container's root.
func inRoot(top int, path string, flags int) (int, error) {
	return unix.Openat2(top, path, &unix.OpenHow{
		Flags:   uint64(unix.O_PATH | unix.O_CLOEXEC | flags),
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
}

func openFolder(top int, path string) (int, error) {
	fd, err := inRoot(top, path, unix.O_DIRECTORY)
	if !errors.Is(err, unix.ENOENT) || path == "/" {
		return fd, err
	}
	parent, err := openFolder(top, filepath.Dir(path))
	if err != nil {
		return -1, err
	}
	defer func() { _ = unix.Close(parent) }()
	// A link that leads nowhere is there, and is not followed by mkdir.
	if err := unix.Mkdirat(parent, filepath.Base(path), 0o755); err != nil {
		return -1, err
	}
	return inRoot(top, path, unix.O_DIRECTORY)
}

func openFile(top int, path string) (int, error) {
	fd, err := inRoot(top, path, 0)
	if !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	parent, err := openFolder(top, filepath.Dir(path))
	if err != nil {
		return -1, err
	}
	defer func() { _ = unix.Close(parent) }()
	// Nor is it by mknod.
	if err := unix.Mknodat(parent, filepath.Base(path), unix.S_IFREG|0o644, 0); err != nil {
		return -1, err
	}
	return inRoot(top, path, 0)
}
