package blk_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"syscall"
	"testing"

	"github.com/mvm-project/mvm/devices/blk"
	"github.com/mvm-project/mvm/devices/virtio/virtiotest"
)

// span is a range of a discard or of a write of zeros.
type span struct {
	sector         uint64
	sectors, flags uint32
}

func ranges(spans ...span) []byte {
	var p []byte
	for _, s := range spans {
		p = binary.LittleEndian.AppendUint64(p, s.sector)
		p = binary.LittleEndian.AppendUint32(p, s.sectors)
		p = binary.LittleEndian.AppendUint32(p, s.flags)
	}
	return p
}

// many is n ranges of no sectors, but for the last, which is of one.
func many(n int) []span {
	spans := make([]span, n)
	spans[n-1].sectors = 1
	return spans
}

func TestDiscard(t *testing.T) {
	const size = 64 << 10
	for _, test := range []struct {
		name   string
		data   []byte
		status byte // of a discard
		zeroes byte // of a write of zeros
		from   int  // what is cleared, in sectors
		to     int
	}{
		{"one", ranges(span{8, 8, 0}), ok, ok, 8, 16},
		{"two", ranges(span{8, 8, 0}, span{16, 4, 0}), ok, ok, 8, 20},
		{"all", ranges(span{0, 128, 0}), ok, ok, 0, 128},
		{"no sectors", ranges(span{128, 0, 0}), ok, ok, 0, 0},
		{"most ranges", ranges(many(16)...), ok, ok, 0, 1},
		{"too many ranges", ranges(many(17)...), ioErr, ioErr, 0, 0},
		{"no ranges", nil, ioErr, ioErr, 0, 0},
		{"half a range", ranges(span{8, 8, 0})[:8], ioErr, ioErr, 0, 0},
		{"over the end", ranges(span{127, 2, 0}), ioErr, ioErr, 0, 0},
		{"past the end", ranges(span{129, 0, 0}), ioErr, ioErr, 0, 0},
		{"at the end of numbers", ranges(span{1<<64 - 1, 2, 0}), ioErr, ioErr, 0, 0},
		{"longer than may be", ranges(span{0, 1<<21 + 1, 0}), ioErr, ioErr, 0, 0},
		{"the second is bad", ranges(span{0, 1, 0}, span{128, 1, 0}), ioErr, ioErr, 0, 1},
		{"unknown flag", ranges(span{0, 8, 2}), unsupp, unsupp, 0, 0},
		{"unmap", ranges(span{0, 8, 1}), unsupp, ok, 0, 8},
	} {
		for _, kind := range []uint32{discard, zeroes} {
			status, from, to := test.status, test.from, test.to
			if kind == zeroes {
				status = test.zeroes
			}
			if status == unsupp {
				from, to = 0, 0
			}
			t.Run(test.name, func(t *testing.T) {
				backends(t, pattern(size), func(t *testing.T, b blk.Backend, content func() []byte) {
					d := virtiotest.New(t, blk.New(b, blk.Config{}))
					d.Start(featureFlush)
					var data []virtiotest.Buffer
					if len(test.data) > 0 { // in two pieces, wherever they are cut
						data = []virtiotest.Buffer{d.Put(test.data[:5]), d.Put(test.data[5:])}
					}
					if got, n := request(d, kind, 0, data...); got != status || n != 1 {
						t.Errorf("type %d: status %d, %d bytes reported; want %d, 1", kind, got, n, status)
					}
					want := pattern(size)
					clear(want[from*512 : to*512])
					if !bytes.Equal(content(), want) {
						t.Errorf("type %d: the disk differs", kind)
					}
				})
			})
		}
	}
}

// TestDiscardGivesBack: a discard shortens what the host's file takes; a write of
// zeros only if the driver does not mind.
func TestDiscardGivesBack(t *testing.T) {
	const size = 1 << 20
	for _, test := range []struct {
		name  string
		kind  uint32
		flags uint32
		gives bool
	}{{"discard", discard, 0, true}, {"zeros, unmap", zeroes, 1, true}, {"zeros", zeroes, 0, false}} {
		path := image(t, pattern(size))
		f, err := blk.OpenFile(path, false)
		if err != nil {
			t.Fatal(err)
		}
		d := virtiotest.New(t, blk.New(f, blk.Config{}))
		d.Start(0) // this driver will not flush: the ranges are on the disk at once
		before := taken(t, path)
		if status, _ := request(d, test.kind, 0, d.Put(ranges(span{0, size / 512, test.flags}))); status != ok {
			t.Errorf("%s: status %d", test.name, status)
		}
		after := taken(t, path)
		if gave := after < before/2; gave != test.gives && (!gave || !onTmpfs(t, path)) {
			t.Errorf("%s: %d bytes taken before, %d after", test.name, before, after)
		}
		if p, err := os.ReadFile(path); err != nil || !bytes.Equal(p, make([]byte, size)) {
			t.Errorf("%s: not %d zeros, %v", test.name, size, err)
		}
		d.Close()
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

// taken is how much room a file takes.
func taken(t *testing.T, path string) int64 {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

// onTmpfs says whether a file is on a tmpfs, which zeroes by giving back.
func onTmpfs(t *testing.T, path string) bool {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Type == 0x01021994
}

// TestDiscardFails: the driver hears whether there is no discard, or that it failed.
func TestDiscardFails(t *testing.T) {
	for _, test := range []struct {
		fails error
		want  byte
	}{{syscall.EOPNOTSUPP, unsupp}, {syscall.EIO, ioErr}, {errors.ErrUnsupported, unsupp}} {
		d := virtiotest.New(t, blk.New(&disk{bytes: pattern(4096), fails: test.fails}, blk.Config{}))
		d.Start(featureFlush)
		for _, kind := range []uint32{discard, zeroes} {
			if status, _ := request(d, kind, 0, d.Put(ranges(span{0, 8, 0}))); status != test.want {
				t.Errorf("type %d, %v: status %d, want %d", kind, test.fails, status, test.want)
			}
		}
	}
}

// TestDiscardWithoutFlush: a driver that does not flush loses nothing either.
func TestDiscardWithoutFlush(t *testing.T) {
	b := &disk{bytes: pattern(4096)}
	d := virtiotest.New(t, blk.New(b, blk.Config{}))
	d.Start(0)
	if status, _ := request(d, zeroes, 0, d.Put(ranges(span{0, 8, 0}))); status != ok || b.synced.Load() != 1 {
		t.Errorf("status %d, %d syncs", status, b.synced.Load())
	}
}
