package blk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// File is a raw disk image: a Backend whose I/O goes straight between the file
// and guest memory.
type File struct {
	file *os.File
	size int64
}

// OpenFile opens the raw disk image (or block device) at path and locks it until
// Close: any number may read it, or one may write it. Locks bind those who take
// them (flock(2)), which all of mvm does.
func OpenFile(path string, readOnly bool) (*File, error) {
	f, size, err := open(path, readOnly)
	if err != nil {
		return nil, err
	}
	if err := lock(f, readOnly); err != nil {
		return nil, errors.Join(fmt.Errorf("disk %s: %w", path, err), f.Close())
	}
	return &File{file: f, size: size}, nil
}

// open opens a file that can be a disk, and finds its size.
func open(path string, readOnly bool) (*os.File, int64, error) {
	flag := os.O_RDWR
	if readOnly {
		flag = os.O_RDONLY
	}
	// Non-blocking, or a FIFO would hold us up before it can be refused.
	f, err := os.OpenFile(path, flag|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, openError(path, readOnly, err)
	}
	size, err := check(f)
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("disk %s: %w", path, err), f.Close())
	}
	return f, size, nil
}

// CheckFile says why OpenFile would refuse path, but for locks.
func CheckFile(path string, readOnly bool) error {
	f, _, err := open(path, readOnly)
	if err != nil {
		return err
	}
	return f.Close()
}

// openError says what to do about the errors that have a way out.
func openError(path string, readOnly bool, err error) error {
	switch {
	case errors.Is(err, unix.EISDIR):
		return fmt.Errorf("disk %s: is a directory, not a disk image", path)
	case (errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS)) && !readOnly:
		return fmt.Errorf("disk %s: no permission to write it: open it read-only (:ro) or change its mode", path)
	}
	return fmt.Errorf("disk %s: %w", path, errors.Unwrap(err))
}

// check returns the size of a file that can be a disk.
func check(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		return 0, errors.New("is a directory, not a disk image")
	case !mode.IsRegular() && mode.Type() != fs.ModeDevice:
		return 0, errors.New("is neither a file nor a block device")
	}
	// The end of a block device is found by seeking only.
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, fmt.Errorf("find its size: %w", err)
	}
	if size == 0 || size%SectorSize != 0 {
		return 0, fmt.Errorf("has %d bytes, which is not one or more whole sectors of %d", size, SectorSize)
	}
	return size, nil
}

// lock locks f until it is closed, by Close or by the end of the process.
func lock(f *os.File, readOnly bool) error {
	how := unix.LOCK_EX
	if readOnly {
		how = unix.LOCK_SH
	}
	err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return errors.New("is in use by another microVM: a disk has one writer or only readers")
	case err != nil:
		return fmt.Errorf("lock: %w", err)
	}
	return nil
}

// Size implements Backend.
func (f *File) Size() int64 { return f.size }

// ReadAt implements Backend.
func (f *File) ReadAt(p []byte, off int64) (int, error) { return f.file.ReadAt(p, off) }

// WriteAt implements Backend.
func (f *File) WriteAt(p []byte, off int64) (int, error) { return f.file.WriteAt(p, off) }

// Sync implements Backend: data, and what of the metadata is needed to find it.
func (f *File) Sync() error {
	if err := unix.Fdatasync(int(f.file.Fd())); err != nil {
		return fmt.Errorf("sync disk %s: %w", f.file.Name(), err)
	}
	return nil
}

// Discard implements Backend: the file gets a hole.
func (f *File) Discard(off, n int64) error {
	return f.allocate(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
}

// Zero implements Backend. Where the host's file system cannot zero a range in
// place (tmpfs), the file gets a hole.
func (f *File) Zero(off, n int64) error {
	err := f.allocate(unix.FALLOC_FL_ZERO_RANGE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	if errors.Is(err, errors.ErrUnsupported) {
		return f.Discard(off, n)
	}
	return err
}

func (f *File) allocate(mode uint32, off, n int64) error {
	for {
		err := unix.Fallocate(int(f.file.Fd()), mode, off, n)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Close closes the file and so gives up its lock. The device must be stopped.
func (f *File) Close() error { return f.file.Close() }
