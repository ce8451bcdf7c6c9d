package blk_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/mvm-project/mvm/devices/blk"
	"github.com/mvm-project/mvm/devices/virtio"
	"github.com/mvm-project/mvm/devices/virtio/virtiotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	in, out, flush, getID = 0, 1, 4, 8
	discard, zeroes       = 11, 13
	ok, ioErr, unsupp     = 0, 1, 2
	featureFlush          = 1 << 9
	featureReadOnly       = 1 << 5
)

// pattern is n bytes of which each sector is different.
func pattern(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i*7 + i/512)
	}
	return p
}

func header(kind uint32, sector uint64) []byte {
	p := binary.LittleEndian.AppendUint32(nil, kind)
	p = binary.LittleEndian.AppendUint32(p, 0xdeadbeef) // reserved
	return binary.LittleEndian.AppendUint64(p, sector)
}

// request does a request with its data in one piece, and returns the status and
// how many bytes the device says it wrote.
func request(d *virtiotest.Driver, kind uint32, sector uint64, data ...virtiotest.Buffer) (status byte, written int) {
	room := d.Room(1)
	d.Bytes(room)[0] = 0xee
	chain := append([]virtiotest.Buffer{d.Put(header(kind, sector))}, data...)
	written = d.Queue(0).Do(append(chain, room)...)
	return d.Bytes(room)[0], written
}

func TestReadWrite(t *testing.T) {
	const sectors = 8
	backends(t, pattern(sectors*512), func(t *testing.T, b blk.Backend, content func() []byte) {
		d := virtiotest.New(t, blk.New(b, blk.Config{}))
		d.Start(featureFlush | virtio.FeatureEventIdx)
		want := pattern(sectors * 512)
		for _, test := range []struct {
			name   string
			sector uint64
			bytes  int
			status byte
		}{
			{"first", 0, 512, ok},
			{"last", 7, 512, ok},
			{"all", 0, 4096, ok},
			{"nothing", 8, 0, ok},
			{"past the end", 8, 512, ioErr},
			{"over the end", 7, 1024, ioErr},
			{"far away", 1 << 55, 512, ioErr},
			{"at the end of numbers", 1<<64 - 1, 512, ioErr},
			{"half a sector", 0, 256, ioErr},
			{"odd", 0, 513, ioErr},
		} {
			t.Run(test.name, func(t *testing.T) {
				room := d.Room(test.bytes)
				status, n := request(d, in, test.sector, room)
				if status != test.status {
					t.Fatalf("read: status %d, want %d", status, test.status)
				}
				data := bytes.Repeat([]byte{0xa5}, test.bytes)
				if status == ok {
					off := int(test.sector) * 512
					if got := d.Bytes(room); n != test.bytes+1 || !bytes.Equal(got, want[off:off+test.bytes]) {
						t.Errorf("read: %d bytes reported, content right: %v", n, bytes.Equal(got, want[off:off+test.bytes]))
					}
					copy(want[off:], data)
				} else if n != 0 {
					t.Errorf("read: %d bytes reported by a failed read", n)
				}
				if status, n := request(d, out, test.sector, d.Put(data)); status != test.status || n != 1 {
					t.Errorf("write: status %d, %d bytes reported; want %d, 1", status, n, test.status)
				}
				if !bytes.Equal(content(), want) {
					t.Error("write: the disk differs")
				}
			})
		}
	})
}

func TestShape(t *testing.T) {
	d := virtiotest.New(t, blk.New(&disk{bytes: make([]byte, 10*512+100)}, blk.Config{}))
	want := []byte{10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 126, 0, 0, 0, 0, 0, 0, 0}
	if got := d.Config(0, 20); !bytes.Equal(got, want) {
		t.Errorf("configuration %v, want %v", got, want)
	}
	if got := d.Config(64, 4); !bytes.Equal(got, make([]byte, 4)) {
		t.Errorf("past it: %v", got)
	}
	if got := d.Get(virtiotest.RegDeviceID); got != 2 {
		t.Errorf("device ID %d", got)
	}
	want = []byte{0, 0, 32, 0, 16, 0, 0, 0, 8, 0, 0, 0, 0, 0, 32, 0, 16, 0, 0, 0, 1, 0, 0, 0}
	if got := d.Config(36, 24); !bytes.Equal(got, want) {
		t.Errorf("discards: configuration %v, want %v", got, want)
	}
	if got := d.Offered() & 0xffffff; got != featureFlush|1<<1|1<<2|1<<13|1<<14 {
		t.Errorf("features %#x", got)
	}
	d.Start(0)
	if status, _ := request(d, in, 10, d.Room(512)); status != ioErr {
		t.Errorf("the part of a sector at the end is read: status %d", status)
	}
}

func TestReadOnly(t *testing.T) {
	b := &disk{bytes: pattern(1024)}
	d := virtiotest.New(t, blk.New(b, blk.Config{ReadOnly: true}))
	if got := d.Offered(); got&featureReadOnly == 0 || got&featureFlush != 0 {
		t.Errorf("features %#x", got)
	}
	d.Start(0) // a driver that does not even look
	if status, _ := request(d, out, 0, d.Put(make([]byte, 512))); status != ioErr {
		t.Errorf("write: status %d", status)
	}
	for _, kind := range []uint32{flush, discard, zeroes} {
		if status, _ := request(d, kind, 0, d.Put(make([]byte, 16))); status != unsupp {
			t.Errorf("type %d: status %d", kind, status)
		}
	}
	if status, _ := request(d, in, 1, d.Room(512)); status != ok {
		t.Errorf("read: status %d", status)
	}
	if !bytes.Equal(b.bytes, pattern(1024)) || b.synced.Load() != 0 {
		t.Error("the disk was touched")
	}
}

func TestFlush(t *testing.T) {
	b := &disk{bytes: make([]byte, 1024)}
	d := virtiotest.New(t, blk.New(b, blk.Config{}))
	write := func() {
		t.Helper()
		if status, _ := request(d, out, 0, d.Put(make([]byte, 512))); status != ok {
			t.Fatalf("status %d", status)
		}
	}
	d.Start(featureFlush)
	write()
	if n := b.synced.Load(); n != 0 {
		t.Errorf("%d syncs before a flush", n)
	}
	if status, n := request(d, flush, 0); status != ok || n != 1 || b.synced.Load() != 1 {
		t.Errorf("flush: status %d, %d bytes reported, %d syncs", status, n, b.synced.Load())
	}
	d.Start(0) // this driver will not flush
	write()
	if n := b.synced.Load(); n != 2 {
		t.Errorf("%d syncs after a write that no flush will follow, want 2", n)
	}
}

func TestGetID(t *testing.T) {
	for _, test := range []struct {
		id, want string
		room     int
	}{
		{"image", "image\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 20},
		{"0123456789abcdefghijklm", "0123456789abcdefghij", 20},
		{"image", "ima", 3},
		{"0123456789abcdefghijklm", "0123456789abcdefghij\xcc\xcc", 22},
	} {
		d := virtiotest.New(t, blk.New(new(disk), blk.Config{ID: test.id}))
		d.Start(0)
		room := d.Room(test.room)
		copy(d.Bytes(room), "\xcc\xcc\xcc\xcc\xcc\xcc\xcc\xcc\xcc\xcc\xcc\xcc\xcc\xcc\xcc\xcc\xcc\xcc\xcc\xcc\xcc\xcc\xcc")
		status, n := request(d, getID, 0, room)
		wantN := min(test.room, 20)
		if wantN == test.room {
			wantN++
		}
		if got := string(d.Bytes(room)); status != ok || got != test.want || n != wantN {
			t.Errorf("ID %q in %d bytes: status %d, %d bytes reported, %q", test.id, test.room, status, n, got)
		}
	}
}

// TestMalformed: the answer is a status where there is room for one, and the
// device works on.
func TestMalformed(t *testing.T) {
	d := virtiotest.New(t, blk.New(&disk{bytes: pattern(4096)}, blk.Config{}))
	d.Start(0)
	read := header(in, 0)
	for _, test := range []struct {
		name    string
		chain   []virtiotest.Buffer
		status  byte // in the last byte
		written int
	}{
		{"no room", []virtiotest.Buffer{d.Put(read)}, 0xee, 0},
		{"no header", []virtiotest.Buffer{d.Room(1)}, ioErr, 1},
		{"no header but data", []virtiotest.Buffer{d.Room(513)}, ioErr, 0},
		{"short header", []virtiotest.Buffer{d.Put(read[:15]), d.Room(513)}, ioErr, 0},
		{"unknown type", []virtiotest.Buffer{d.Put(header(77, 0)), d.Room(1)}, unsupp, 1},
		{"secure erase, not offered", []virtiotest.Buffer{d.Put(header(14, 0)), d.Put(make([]byte, 16)), d.Room(1)}, unsupp, 1},
		{"empty read", []virtiotest.Buffer{d.Put(read), d.Room(1)}, ok, 1},
		{"status in the data's buffer", []virtiotest.Buffer{d.Put(read), d.Room(513)}, ok, 513},
		{"status cut off the data's last piece", []virtiotest.Buffer{d.Put(read), d.Room(500), d.Room(13)}, ok, 513},
		{"readable data of a read", []virtiotest.Buffer{d.Put(read), d.Put(make([]byte, 99)), d.Room(513)}, ok, 513},
		{"header in three pieces", []virtiotest.Buffer{d.Put(read[:1]), d.Put(read[1:9]), d.Put(read[9:]), d.Room(513)}, ok, 513},
		{"write with the header's buffer", []virtiotest.Buffer{d.Put(append(header(out, 1), make([]byte, 512)...)), d.Room(1)}, ok, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			last := test.chain[len(test.chain)-1]
			status := &d.Bytes(last)[last.Len-1]
			if last.Writable {
				*status = 0xee
			} else {
				test.status = *status
			}
			if n := d.Queue(0).Do(test.chain...); n != test.written || *status != test.status {
				t.Errorf("status %d, %d bytes reported; want %d, %d", *status, n, test.status, test.written)
			}
			room := d.Room(512)
			if status, _ := request(d, in, 3, room); status != ok || !bytes.Equal(d.Bytes(room), pattern(4096)[3*512:4*512]) {
				t.Errorf("the next request: status %d", status)
			}
		})
	}
}

// TestBackendFails: the guest sees an I/O error, and the device works on.
func TestBackendFails(t *testing.T) {
	b := &disk{bytes: pattern(1024)}
	d := virtiotest.New(t, blk.New(b, blk.Config{}))
	for range 2 {
		b.fails, b.short = errors.New("the disk is broken"), 100
		d.Start(featureFlush)
		if status, n := request(d, in, 0, d.Room(512)); status != ioErr || n != 100 {
			t.Errorf("read: status %d, %d bytes reported", status, n)
		}
		if status, n := request(d, out, 0, d.Put(make([]byte, 512))); status != ioErr || n != 1 {
			t.Errorf("write: status %d, %d bytes reported", status, n)
		}
		if status, _ := request(d, flush, 0); status != ioErr {
			t.Errorf("flush: status %d", status)
		}
		d.Set(virtiotest.RegStatus, 0) // the worker is gone: b is ours
		b.fails = nil
		d.Start(0)
		room := d.Room(512)
		if status, _ := request(d, in, 1, room); status != ok || !bytes.Equal(d.Bytes(room), pattern(1024)[512:]) {
			t.Errorf("when it works again: status %d", status)
		}
		d.Set(virtiotest.RegStatus, 0)
	}
}

// TestFileShrinks cuts the image while it is in use.
func TestFileShrinks(t *testing.T) {
	path := image(t, pattern(4096))
	f, err := blk.OpenFile(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only read
	d := virtiotest.New(t, blk.New(f, blk.Config{}))
	defer d.Close()
	d.Start(0)
	if err := os.Truncate(path, 1024+10); err != nil {
		t.Fatal(err)
	}
	if status, n := request(d, in, 1, d.Room(512), d.Room(512)); status != ioErr || n != 522 {
		t.Errorf("status %d, %d bytes reported; want %d, 522", status, n, ioErr)
	}
}

// TestBatch offers many requests at once, reads and writes mixed.
func TestBatch(t *testing.T) {
	backends(t, make([]byte, 64*512), func(t *testing.T, b blk.Backend, content func() []byte) {
		d := virtiotest.New(t, blk.New(b, blk.Config{}))
		d.Start(featureFlush | virtio.FeatureEventIdx)
		q, want := d.Queue(0), pattern(40*512)
		rooms := map[uint16]virtiotest.Buffer{}
		for i := range 40 {
			room := d.Room(1)
			rooms[q.Add(d.Put(header(out, uint64(i))), d.Put(want[i*512:][:512]), room)] = room
		}
		q.Kick()
		for range 40 {
			head, n := q.Wait()
			if status := d.Bytes(rooms[head])[0]; status != ok || n != 1 {
				t.Errorf("status %d, %d bytes reported", status, n)
			}
		}
		if !bytes.Equal(content()[:len(want)], want) {
			t.Error("the disk differs")
		}
	})
}

// TestLongestRequest: what is over seg_max times size_max is refused before it
// costs anything.
func TestLongestRequest(t *testing.T) {
	d := virtiotest.New(t, blk.New(untouched{t}, blk.Config{}))
	d.Start(0)
	room := d.Room(2 << 20)
	chain := []virtiotest.Buffer{d.Put(header(in, 0))}
	for range 64 {
		chain = append(chain, room) // the same memory again: 128 MiB in all
	}
	status := d.Room(1)
	if n := d.Queue(0).Do(append(chain, status)...); n != 0 || d.Bytes(status)[0] != ioErr {
		t.Errorf("status %d, %d bytes reported", d.Bytes(status)[0], n)
	}
}
