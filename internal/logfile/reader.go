package logfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// errIncomplete says that a file ends before, or within, the next record.
var errIncomplete = errors.New("no whole record yet")

// Reader reads a log from its oldest record on, while it may be written.
type Reader struct {
	path string
	f    *os.File
	off  int64  // where the next record begins in f
	buf  []byte // what f holds from off on, as far as it has been read
}

// Open opens a log. The error is fs.ErrNotExist if there is none.
func Open(path string) (*Reader, error) {
	r := &Reader{path: path}
	if err := r.openOldest(); err != nil {
		return nil, err
	}
	return r, nil
}

// openOldest opens the oldest file there is.
func (r *Reader) openOldest() error {
	last := 0
	for last < MostFiles && exists(name(r.path, last+1)) {
		last++
	}
	for i := last; i >= 0; i-- {
		err := r.open(i)
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return fs.ErrNotExist
}

func (r *Reader) open(i int) error {
	f, err := os.Open(name(r.path, i))
	if err != nil {
		return err
	}
	if r.f != nil {
		_ = r.f.Close()
	}
	r.f, r.off, r.buf = f, 0, nil
	return nil
}

// Next returns the next record, whose data is valid until the next call; io.EOF
// if there is none yet.
func (r *Reader) Next() (Record, error) {
	for {
		rec, err := r.next()
		if !errors.Is(err, errIncomplete) {
			return rec, err
		}
		if more, err := r.advance(); err != nil {
			return Record{}, err
		} else if !more {
			return Record{}, io.EOF
		}
	}
}

// next takes the next record of the open file.
func (r *Reader) next() (Record, error) {
	rec, size, err := parse(r.buf)
	if err == nil && size == 0 {
		if err = r.fill(); err != nil {
			return Record{}, err
		}
		rec, size, err = parse(r.buf)
	}
	switch {
	case err != nil:
		return Record{}, fmt.Errorf("%w at byte %d of %s", err, r.off, r.f.Name())
	case size == 0:
		return Record{}, errIncomplete
	}
	r.buf = r.buf[size:]
	r.off += int64(size)
	return rec, nil
}

// fill reads on, so that buf holds a whole record if there is one.
func (r *Reader) fill() error {
	b := make([]byte, 2*(MaxData+overhead))
	n, err := r.f.ReadAt(b, r.off)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	r.buf = b[:n]
	return nil
}

// advance opens the file after the one that is open, if that has been put aside
// and read to its end.
func (r *Reader) advance() (bool, error) {
	fi, err := r.f.Stat()
	if err != nil {
		return false, err
	}
	i, err := r.find(fi)
	switch {
	case err != nil:
		return false, err
	case i == 0:
		return false, nil
	case i < 0: // removed by a rotation: what is left begins later
		return true, r.openOldest()
	}
	// It grows no more, but may have grown before it was put aside.
	if err := r.fill(); err != nil {
		return false, err
	}
	if _, size, damaged := parse(r.buf); damaged != nil || size > 0 {
		return true, nil //nolint:nilerr // next parses it again, and says so
	}
	err = r.open(i - 1)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // in the middle of a rotation
	}
	return err == nil, err
}

// find is the number of the open file in the rotation; -1 if it has none.
func (r *Reader) find(fi fs.FileInfo) (int, error) {
	for i := range MostFiles {
		other, err := os.Stat(name(r.path, i))
		switch {
		case errors.Is(err, fs.ErrNotExist) && i > 0:
			return -1, nil
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return 0, err
		case err == nil && os.SameFile(fi, other):
			return i, nil
		}
	}
	return -1, nil
}

// Close closes the log.
func (r *Reader) Close() error { return r.f.Close() }

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
