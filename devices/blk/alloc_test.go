package blk_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/mvm-project/mvm/devices/blk"
	"github.com/mvm-project/mvm/devices/virtio"
	"github.com/mvm-project/mvm/devices/virtio/virtiotest"
)

// TestRequestAllocatesNothing counts the allocations of device and driver for reads
// and writes in 1 piece and in the most there can be.
func TestRequestAllocatesNothing(t *testing.T) {
	backends(t, make([]byte, 1<<20), func(t *testing.T, b blk.Backend, _ func() []byte) {
		d := virtiotest.New(t, blk.New(b, blk.Config{}))
		d.Start(featureFlush | virtio.FeatureEventIdx)
		for _, kind := range []uint32{in, out} {
			for _, pieces := range []int{1, 126} {
				chain := pieced(d, kind, pieces, 512)
				if n := testing.AllocsPerRun(50, func() { d.Queue(0).Do(chain...) }); n != 0 {
					t.Errorf("type %d in %d pieces: %v allocations per request", kind, pieces, n)
				}
			}
		}
		if chain := []virtiotest.Buffer{d.Put(header(flush, 0)), d.Room(1)}; testing.AllocsPerRun(5, func() { d.Queue(0).Do(chain...) }) != 0 {
			t.Error("a flush allocates")
		}
		if chain := []virtiotest.Buffer{d.Put(header(discard, 0)), d.Put(ranges(span{8, 8, 0})), d.Room(1)}; testing.AllocsPerRun(50, func() { d.Queue(0).Do(chain...) }) != 0 {
			t.Error("a discard allocates")
		}
	})
}

// TestOneCallPerRequest counts the read system calls of 100 reads in 126 pieces: one
// for the data of each, and a few for kicks and interrupts.
func TestOneCallPerRequest(t *testing.T) {
	f, err := blk.OpenFile(image(t, make([]byte, 1<<20)), true)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only read
	d := virtiotest.New(t, blk.New(f, blk.Config{ReadOnly: true}))
	defer d.Close()
	d.Start(virtio.FeatureEventIdx)
	chain := pieced(d, in, 126, 512)
	before := readCalls(t)
	for range 100 {
		d.Queue(0).Do(chain...)
	}
	if n := readCalls(t) - before; n > 2000 {
		t.Errorf("%d read calls for 100 requests", n)
	}
}

// readCalls is how many read system calls this process has made.
func readCalls(t *testing.T) int {
	t.Helper()
	p, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Fatal(err)
	}
	var rchar, wchar, calls int
	if _, err := fmt.Sscanf(string(p), "rchar: %d\nwchar: %d\nsyscr: %d\n", &rchar, &wchar, &calls); err != nil {
		t.Fatalf("/proc/self/io: %v", err)
	}
	return calls
}

// pieced is a request at sector 0 with its data in pieces of size bytes.
func pieced(d *virtiotest.Driver, kind uint32, pieces, size int) []virtiotest.Buffer {
	chain := []virtiotest.Buffer{d.Put(header(kind, 0))}
	for range pieces {
		b := d.Room(size)
		b.Writable = kind == in
		chain = append(chain, b)
	}
	return append(chain, d.Room(1))
}

// BenchmarkRequest is requests per second of a file in the host's page cache, with
// the given number of requests out at once.
func BenchmarkRequest(b *testing.B) {
	for _, kind := range []uint32{in, out} {
		for _, depth := range []int{1, 32} {
			b.Run(fmt.Sprintf("%s/depth=%d", map[uint32]string{in: "read4K", out: "write4K"}[kind], depth), func(b *testing.B) {
				f, err := blk.OpenFile(image(b, make([]byte, 1<<20)), false)
				if err != nil {
					b.Fatal(err)
				}
				defer f.Close() //nolint:errcheck // a test's file
				d := virtiotest.New(b, blk.New(f, blk.Config{}))
				defer d.Close()
				d.Start(featureFlush | virtio.FeatureEventIdx)
				q, chain := d.Queue(0), pieced(d, kind, 1, 4096)
				b.ReportAllocs()
				b.SetBytes(4096)
				for done := 0; done < b.N; done += depth {
					for range depth {
						q.Add(chain...)
					}
					q.Kick()
					for range depth {
						q.Wait()
					}
				}
				b.ReportMetric(float64(d.Interrupts())/float64(b.N), "interrupts/op")
			})
		}
	}
}
