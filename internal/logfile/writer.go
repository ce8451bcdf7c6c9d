package logfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/mvm-project/mvm/ratelimit"
)

// Limits bound a log on disk.
type Limits struct {
	// MaxSize is the size in bytes at which a file is put aside for the next;
	// at least that of one record.
	MaxSize int64
	// MaxFiles is how many files there are at most, the growing one included.
	MaxFiles int
	// Rate is how fast output may come, in bytes; nil: as fast as it likes. Writer
	// leaves it to who reads that output, which can make the container wait.
	Rate *ratelimit.Bucket `json:",omitempty"`
}

const (
	// MinSize is the least MaxSize, in bytes: two records fit.
	MinSize = 2 * (MaxData + overhead)
	// MostFiles is the most MaxFiles.
	MostFiles = 100
)

// DefaultLimits are those of a container that asks for none. 32 MiB a second are
// more than people read and less than disks write; the first 256 MiB are free.
func DefaultLimits() Limits {
	return Limits{MaxSize: 10 << 20, MaxFiles: 3, Rate: &ratelimit.Bucket{Size: 32 << 20, Burst: 256 << 20, Refill: time.Second}}
}

// Writer appends to a log. Its methods may be called from several goroutines.
type Writer struct {
	path   string
	limits Limits

	mu   sync.Mutex
	f    *os.File
	size int64  // of whole records in f
	buf  []byte // the record being made
	lost int64  // bytes that could not be written and have not been noted
	why  error
}

// Create opens the log at path for appending, and makes it if it is missing.
func Create(path string, limits Limits) (*Writer, error) {
	if limits.MaxSize < MinSize || limits.MaxFiles < 1 || limits.MaxFiles > MostFiles {
		return nil, fmt.Errorf("log of %d files of %d bytes: want 1 to %d files of at least %d", limits.MaxFiles, limits.MaxSize, MostFiles, MinSize)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the container's log: %w", err)
	}
	w := &Writer{path: path, limits: limits, f: f}
	if w.size, err = intact(f); err == nil {
		err = f.Truncate(w.size)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the container's log: %w", err), f.Close())
	}
	return w, nil
}

// intact is how much of f is whole records.
func intact(f *os.File) (int64, error) {
	r := Reader{f: f}
	for {
		_, err := r.next()
		switch {
		case errors.Is(err, errIncomplete), errors.Is(err, errDamaged):
			return r.off, nil
		case err != nil:
			return 0, err
		}
	}
}

// Write appends data of a stream. It never fails: what cannot be written is
// counted, and noted in the log as soon as there is room.
func (w *Writer) Write(s Stream, data []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(data) > 0 {
		n := min(len(data), MaxData)
		w.put(Record{Stream: s, Time: time.Now(), Data: data[:n]})
		data = data[n:]
	}
}

// put needs mu.
func (w *Writer) put(r Record) {
	w.buf = w.buf[:0]
	if w.lost > 0 {
		note := strconv.FormatInt(w.lost, 10) + " " + w.why.Error()
		w.buf = appendRecord(w.buf, Record{Stream: Lost, Time: r.Time, Data: []byte(note)})
	}
	w.buf = appendRecord(w.buf, r)
	if err := w.append(w.buf); err != nil {
		w.lost += int64(len(r.Data))
		w.why = reason(err)
		return
	}
	w.lost, w.why = 0, nil
}

// append writes whole records or nothing.
func (w *Writer) append(b []byte) error {
	if w.size > 0 && w.size+int64(len(b)) > w.limits.MaxSize {
		if err := w.rotate(); err != nil {
			return err
		}
	}
	if _, err := w.f.WriteAt(b, w.size); err != nil {
		_ = w.f.Truncate(w.size) // or the next one overwrites it
		return err
	}
	w.size += int64(len(b))
	return nil
}

// rotate puts the file aside. The oldest goes, which on a full disk makes room.
func (w *Writer) rotate() error {
	for i := w.limits.MaxFiles - 1; i > 0; i-- {
		if err := os.Rename(name(w.path, i-1), name(w.path, i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if w.limits.MaxFiles == 1 {
		if err := os.Remove(w.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	f, err := os.OpenFile(w.path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_ = w.f.Close()
	w.f, w.size = f, 0
	return nil
}

// Lost is how many bytes are missing at the end of the log, and why.
func (w *Writer) Lost() (int64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lost, w.why
}

// Close closes the log; a second Close does nothing.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lost > 0 { // a last try to say so
		w.buf = appendRecord(w.buf[:0], Record{Stream: Lost, Time: time.Now(), Data: []byte(strconv.FormatInt(w.lost, 10) + " " + w.why.Error())})
		if w.append(w.buf) == nil {
			w.lost = 0
		}
	}
	return w.f.Close()
}

// name is the path of the i-th file, the growing one being 0.
func name(path string, i int) string {
	if i == 0 {
		return path
	}
	return path + "." + strconv.Itoa(i)
}

// reason is the bare cause of an error, without the operation and the path.
func reason(err error) error {
	var e *fs.PathError
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}
