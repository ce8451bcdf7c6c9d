package rootfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const (
	blockSize = 4096
	bufSize   = 1 << 20
	// holeSize is the grain in which zeros are left out of the file.
	holeSize = 64 << 10
)

// zeros is what a hole is compared with.
var zeros [holeSize]byte

// disk appends to the image file through a buffer. Runs of zeros become holes.
type disk struct {
	file *os.File
	buf  []byte // bytes not yet written, of the file from off on
	off  int64
	data int64 // bytes of all files so far
	// limit is on data.
	limit int64
}

func newDisk(f *os.File, limit int64) *disk {
	// Block 0 is the superblock's, written last.
	return &disk{file: f, buf: make([]byte, 0, bufSize), off: blockSize, limit: limit}
}

// end is the file's length with what waits in the buffer.
func (d *disk) end() int64 { return d.off + int64(len(d.buf)) }

// appendFile copies size bytes of r to new blocks and returns the first one's
// number.
func (d *disk) appendFile(r io.Reader, size int64) (uint32, error) {
	if size < 0 || size > d.limit-d.data {
		return 0, fmt.Errorf("the image's files are larger than %d bytes together", d.limit)
	}
	d.data += size
	block := d.end() / blockSize
	for size > 0 {
		n := int(min(size, int64(cap(d.buf)-len(d.buf))))
		part := d.buf[len(d.buf) : len(d.buf)+n]
		if _, err := io.ReadFull(r, part); err != nil {
			return 0, noEOF(err)
		}
		d.buf = d.buf[:len(d.buf)+n]
		size -= int64(n)
		if err := d.flushIfFull(); err != nil {
			return 0, err
		}
	}
	return uint32(block), d.pad()
}

// noEOF makes an end of the stream inside a file an unexpected one.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Write appends p.
func (d *disk) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		n := min(len(p)-done, cap(d.buf)-len(d.buf))
		d.buf = append(d.buf, p[done:done+n]...)
		done += n
		if err := d.flushIfFull(); err != nil {
			return done, err
		}
	}
	return len(p), nil
}

// pad appends zeros up to a whole block.
func (d *disk) pad() error {
	_, err := d.Write(zeros[:-d.end()&(blockSize-1)])
	return err
}

func (d *disk) flushIfFull() error {
	if len(d.buf) < cap(d.buf) {
		return nil
	}
	return d.flush()
}

// flush writes the buffer, but for its whole pieces of zeros.
func (d *disk) flush() error {
	for start := 0; start < len(d.buf); {
		end := start
		for end < len(d.buf) && !isHole(d.buf[end:]) {
			end = min(end+holeSize, len(d.buf))
		}
		if _, err := d.file.WriteAt(d.buf[start:end], d.off+int64(start)); err != nil {
			return d.explain(err)
		}
		for start = end; start < len(d.buf) && isHole(d.buf[start:]); {
			start += holeSize
		}
	}
	d.off += int64(len(d.buf))
	d.buf = d.buf[:0]
	return nil
}

// isHole says whether p begins with holeSize zeros.
func isHole(p []byte) bool {
	return len(p) >= holeSize && bytes.Equal(p[:holeSize], zeros[:])
}

func (d *disk) explain(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("the disk is full: free some space, or remove images: %w", err)
	}
	return err
}

// drop gives back the blocks of a file that no name is left of. They read as
// zeros from then on, so the image stays a function of its layers.
func (d *disk) drop(n *inode) error {
	if n.size == 0 {
		return nil
	}
	size := (n.size + blockSize - 1) &^ (blockSize - 1)
	off := int64(n.block) * blockSize
	if off+size > d.off {
		if err := d.flush(); err != nil {
			return err
		}
	}
	err := retryEINTR(func() error {
		return unix.Fallocate(int(d.file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, size)
	})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return d.clear(off, size)
	}
	return err
}

// clear overwrites with zeros where holes cannot be punched.
func (d *disk) clear(off, size int64) error {
	for size > 0 {
		n := min(size, holeSize)
		if _, err := d.file.WriteAt(zeros[:n], off); err != nil {
			return err
		}
		off, size = off+n, size-n
	}
	return nil
}

func retryEINTR(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// finish writes out the buffer and gives the file its full length.
func (d *disk) finish() error {
	if err := d.pad(); err != nil {
		return err
	}
	if err := d.flush(); err != nil {
		return err
	}
	return d.file.Truncate(d.off)
}
