package images

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

const (
	// roomGrain is how many bytes are written between two looks at the space
	// left, so that small images may take the last of it.
	roomGrain = 64 << 20
	// maxReserve and 1/reservePart of the file system, whichever is less, is
	// left for others by those who write much.
	maxReserve  = 512 << 20
	reservePart = 20
)

// roomy stops a stream that would fill the store's disk: an image says what it
// likes about its size, and a small layer may unpack to a very large one.
type roomy struct {
	r    io.Reader
	dir  string
	left int64 // bytes until the next look
}

func (s *Store) roomy(r io.Reader) *roomy { return &roomy{r, s.dir, roomGrain} }

func (r *roomy) Read(p []byte) (int, error) {
	if r.left <= 0 {
		if err := room(r.dir); err != nil {
			return 0, localError{err}
		}
		r.left = roomGrain
	}
	n, err := r.r.Read(p)
	r.left -= int64(n)
	return n, err
}

// room looks whether there is space for more.
func room(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	reserve := min(uint64(st.Frsize)*st.Blocks/reservePart, maxReserve)
	if left := st.Bavail * uint64(st.Frsize); left < reserve {
		return explain(fmt.Errorf("%d MiB are left on it: %w", left>>20, unix.ENOSPC))
	}
	return nil
}
