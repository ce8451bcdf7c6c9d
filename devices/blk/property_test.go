package blk_test

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/mvm-project/mvm/devices/blk"
	"github.com/mvm-project/mvm/devices/virtio"
	"github.com/mvm-project/mvm/devices/virtio/virtiotest"
)

// TestLikeAnArray does random requests in random pieces and holds the disk
// against an array.
func TestLikeAnArray(t *testing.T) {
	const sectors = 32
	backends(t, make([]byte, sectors*512), func(t *testing.T, b blk.Backend, content func() []byte) {
		want := content()
		want = bytes.Clone(want)
		rapid.Check(t, func(rt *rapid.T) {
			d := virtiotest.New(t, blk.New(b, blk.Config{}))
			defer d.Close()
			d.Start(featureFlush | virtio.FeatureEventIdx)
			for range rapid.IntRange(1, 10).Draw(rt, "requests") {
				sector := rapid.IntRange(0, sectors).Draw(rt, "sector")
				n := rapid.IntRange(0, sectors-sector).Draw(rt, "sectors") * 512
				part := want[sector*512:][:n]
				if rapid.Bool().Draw(rt, "write") {
					fill(part, rapid.Byte().Draw(rt, "fill"))
					head := append(header(out, uint64(sector)), part...)
					chain := append(cut(rt, d, head), d.Room(1))
					if n := d.Queue(0).Do(chain...); n != 1 || last(d, chain) != ok {
						rt.Fatalf("write: status %d, %d bytes reported", last(d, chain), n)
					}
					continue
				}
				chain := cut(rt, d, header(in, uint64(sector)))
				first := len(chain)
				for _, p := range cut(rt, d, make([]byte, n+1)) { // data and status
					p.Writable = true
					chain = append(chain, p)
				}
				if got := d.Queue(0).Do(chain...); got != n+1 || last(d, chain) != ok {
					rt.Fatalf("read: status %d, %d bytes reported", last(d, chain), got)
				}
				var got []byte
				for _, p := range chain[first:] {
					got = append(got, d.Bytes(p)...)
				}
				if !bytes.Equal(got[:n], part) {
					rt.Fatalf("read of %d bytes at sector %d differs", n, sector)
				}
			}
			if !bytes.Equal(content(), want) {
				rt.Fatal("the disk differs")
			}
		})
	})
}

// cut returns p in up to 40 pieces.
func cut(rt *rapid.T, d *virtiotest.Driver, p []byte) []virtiotest.Buffer {
	var buffers []virtiotest.Buffer
	for len(p) > 0 {
		n := len(p)
		if len(buffers) < 39 {
			n = rapid.IntRange(1, len(p)).Draw(rt, "piece")
		}
		buffers = append(buffers, d.Put(p[:n]))
		p = p[n:]
	}
	return buffers
}

// last is the last byte of the last buffer: the status.
func last(d *virtiotest.Driver, chain []virtiotest.Buffer) byte {
	p := d.Bytes(chain[len(chain)-1])
	return p[len(p)-1]
}

func fill(p []byte, v byte) {
	for i := range p {
		p[i] = v + byte(i)
	}
}
