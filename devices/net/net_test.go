package net_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/mvm-project/mvm/devices/net"
	"github.com/mvm-project/mvm/devices/virtio"
	"github.com/mvm-project/mvm/devices/virtio/virtiotest"
	"github.com/mvm-project/mvm/ratelimit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	rx, tx     = 0, 1
	mrgRxbuf   = 1 << 15
	headerSize = 12
)

// wire returns an interface and the other end of its link: an fd of which each
// read and write is a frame.
func wire(tb testing.TB, cfg net.Config) (*virtiotest.Driver, int) {
	tb.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	// The far end may wait, but not for ever.
	patience := unix.Timeval{Sec: 30}
	err = unix.SetNonblock(fds[1], false)
	for _, opt := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if err == nil {
			err = unix.SetsockoptTimeval(fds[1], unix.SOL_SOCKET, opt, &patience)
		}
	}
	if err != nil {
		tb.Fatal(err)
	}
	link, err := net.FromFile(os.NewFile(uintptr(fds[0]), "link"))
	if err != nil {
		tb.Fatal(err)
	}
	d := virtiotest.New(tb, net.New(link, cfg))
	tb.Cleanup(func() {
		d.Close()
		_ = link.Close()
		_ = unix.Close(fds[1])
	})
	return d, fds[1]
}

func send(tb testing.TB, fd int, frame []byte) {
	tb.Helper()
	if _, err := unix.Write(fd, frame); err != nil {
		tb.Fatalf("send %d bytes: %v", len(frame), err)
	}
}

func receive(tb testing.TB, fd int) []byte {
	tb.Helper()
	p := make([]byte, 1<<17)
	n, err := unix.Read(fd, p)
	if err != nil {
		tb.Fatalf("receive: %v", err)
	}
	return p[:n]
}

// frame is n bytes, each of which tells its place.
func frame(n int, salt byte) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i) + byte(i>>8)*3 + salt
	}
	return p
}

func transmit(d *virtiotest.Driver, p []byte) {
	d.Queue(tx).Do(d.Put(make([]byte, headerSize)), d.Put(p))
}

func TestConfig(t *testing.T) {
	d, _ := wire(t, net.Config{MAC: [6]byte{2, 1, 2, 3, 4, 5}, MTU: 9000})
	if got, want := d.Config(0, 14), []byte{2, 1, 2, 3, 4, 5, 1, 0, 1, 0, 0x28, 0x23, 0, 0}; !bytes.Equal(got, want) {
		t.Errorf("configuration % x, want % x", got, want)
	}
	const csum, mtu, mac, status = 1 << 0, 1 << 3, 1 << 5, 1 << 16
	if f := d.Offered() & 0xffffff; f != mtu|mac|mrgRxbuf|status {
		t.Errorf("features %#x of a link without offloads", f)
	}
	d, _ = wire(t, net.Config{})
	if f := d.Offered(); f&mtu != 0 {
		t.Error("the usual MTU is announced")
	}
}

func TestTransmit(t *testing.T) {
	d, far := wire(t, net.Config{})
	d.Start(mrgRxbuf | virtio.FeatureEventIdx)
	for _, test := range []struct {
		name string
		n    int
		sent bool
	}{
		{"an Ethernet header", 14, true},
		{"usual", 60, true},
		{"longest", 1518, true},
		{"empty", 0, false},
		{"short of a header", 13, false},
		{"too long", 1519, false},
		{"very long", 200_000, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := frame(test.n, 1)
			transmit(d, want)
			marker := frame(99, 7)
			transmit(d, marker)
			if test.sent {
				if got := receive(t, far); !bytes.Equal(got, want) {
					t.Errorf("%d bytes arrive of %d", len(got), len(want))
				}
			}
			if got := receive(t, far); !bytes.Equal(got, marker) {
				t.Errorf("then %d bytes arrive, want the next frame", len(got))
			}
		})
	}
}

// TestTransmitPieces cuts header and frame anywhere.
func TestTransmitPieces(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d, far := wire(t, net.Config{MTU: 9000})
		defer d.Close()
		d.Start(0)
		want := frame(rapid.IntRange(14, 9000).Draw(rt, "length"), 3)
		all := append(make([]byte, headerSize), want...)
		var chain []virtiotest.Buffer
		for len(all) > 0 && len(chain) < 200 {
			n := rapid.IntRange(0, len(all)).Draw(rt, "piece")
			chain = append(chain, d.Put(all[:n]))
			all = all[n:]
		}
		d.Queue(tx).Do(append(chain, d.Put(all))...)
		if got := receive(t, far); !bytes.Equal(got, want) {
			rt.Fatalf("%d bytes arrive of %d", len(got), len(want))
		}
	})
}

// TestReceive has the guest offer rooms of any size, and looks at what comes in
// them.
func TestReceive(t *testing.T) {
	for _, merge := range []uint64{0, mrgRxbuf} {
		t.Run(map[uint64]string{0: "one chain a frame", mrgRxbuf: "merged"}[merge], func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				d, far := wire(t, net.Config{MTU: 9000})
				defer d.Close()
				d.Start(merge | virtio.FeatureEventIdx)
				q := d.Queue(rx)
				rooms := map[uint16]virtiotest.Buffer{}
				for range 200 {
					lowest := 9000 + headerSize + 18
					if merge != 0 {
						lowest = 200 // so that all of a frame fits into what there is
					}
					b := d.Room(rapid.IntRange(lowest, 10_000).Draw(rt, "room"))
					rooms[q.Add(b)] = b
				}
				q.Kick()
				for i := range rapid.IntRange(1, 3).Draw(rt, "frames") {
					want := frame(rapid.IntRange(14, 9018).Draw(rt, "length"), byte(i))
					send(t, far, want)
					if got := gather(rt, d, rooms); !bytes.Equal(got, want) {
						rt.Fatalf("%d bytes arrive of %d", len(got), len(want))
					}
				}
			})
		})
	}
}

// gather takes the chains of one frame.
func gather(t interface{ Fatalf(string, ...any) }, d *virtiotest.Driver, rooms map[uint16]virtiotest.Buffer) []byte {
	head, n := d.Queue(rx).Wait()
	all := bytes.Clone(d.Bytes(rooms[head])[:n])
	if n < headerSize || !bytes.Equal(all[:10], make([]byte, 10)) {
		t.Fatalf("bad header in %d bytes: % x", n, all[:min(n, headerSize)])
	}
	for range binary.LittleEndian.Uint16(all[10:]) - 1 {
		head, n := d.Queue(rx).Wait()
		all = append(all, d.Bytes(rooms[head])[:n]...)
	}
	return all[headerSize:]
}

// TestReceiveWithoutRoom has frames come that are none, and rooms that are too
// small: those are lost, and all else arrives.
func TestReceiveWithoutRoom(t *testing.T) {
	for _, merge := range []uint64{0, mrgRxbuf} {
		d, far := wire(t, net.Config{})
		d.Start(merge)
		q := d.Queue(rx)
		q.Add(d.Room(11)) // not even a header
		room := d.Room(300)
		want := q.Add(room)
		q.Kick()
		if _, n := q.Wait(); n != 0 {
			t.Errorf("%d bytes in a room of 11", n)
		}
		for _, n := range []int{1, 13, 289, 1500, 60_000} {
			send(t, far, frame(n, 5))
		}
		send(t, far, frame(288, 9))
		if head, n := q.Wait(); head != want || n != 300 || !bytes.Equal(d.Bytes(room)[headerSize:], frame(288, 9)) {
			t.Errorf("chain %d with %d bytes", head, n)
		}
	}
}

// TestStop stops the device where it waits: for a chain, for a frame, for room in
// the link, and for its limits. Nothing of the guest's is lost.
func TestStop(t *testing.T) {
	limits := net.Config{RX: ratelimit.New(unlimited()), TX: ratelimit.New(unlimited())}
	for _, test := range []struct {
		name string
		cfg  net.Config
		work func(d *virtiotest.Driver, far int)
	}{
		{"no chain", net.Config{}, func(*virtiotest.Driver, int) {}},
		{"no frame", net.Config{}, func(d *virtiotest.Driver, _ int) {
			d.Queue(rx).Add(d.Room(100))
			d.Queue(rx).Kick()
		}},
		{"a full link", net.Config{}, func(d *virtiotest.Driver, _ int) {
			chain := []virtiotest.Buffer{d.Put(make([]byte, headerSize)), d.Put(frame(1500, 0))}
			for range 8 {
				for d.Queue(tx).Free() >= 2 {
					d.Queue(tx).Add(chain...)
				}
				d.Queue(tx).ForceKick()
				time.Sleep(5 * time.Millisecond)
				for _, _, ok := d.Queue(tx).Used(); ok; _, _, ok = d.Queue(tx).Used() {
				}
			}
		}},
		{"limits", limits, func(d *virtiotest.Driver, far int) {
			for _, l := range []*ratelimit.Limiter{limits.RX, limits.TX} {
				l.Update(ratelimit.Limits{Ops: &ratelimit.Bucket{Size: 1, Refill: time.Hour}})
				l.Take(0)
			}
			d.Queue(rx).Add(d.Room(100))
			d.Queue(rx).Kick()
			send(t, far, frame(50, 0))
			d.Queue(tx).Add(d.Put(make([]byte, headerSize)), d.Put(frame(50, 0)))
			d.Queue(tx).Kick()
			for limits.RX.Stats().Throttled == 0 || limits.TX.Stats().Throttled == 0 {
				time.Sleep(time.Millisecond)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, far := wire(t, test.cfg)
			d.Start(mrgRxbuf)
			test.work(d, far)
			d.Set(virtiotest.RegStatus, 0) // returns when the device has stopped
			limits.RX.Update(unlimited())
			limits.TX.Update(unlimited())
			d.Start(mrgRxbuf)
			for unix.SetNonblock(far, true) == nil {
				if _, err := unix.Read(far, make([]byte, 2000)); err != nil {
					break
				}
			}
			if err := unix.SetNonblock(far, false); err != nil {
				t.Fatal(err)
			}
			transmit(d, frame(60, 1))
			if got := receive(t, far); !bytes.Equal(got, frame(60, 1)) {
				t.Errorf("after a new start %d bytes arrive", len(got))
			}
			room := d.Room(200)
			d.Queue(rx).Add(room)
			d.Queue(rx).Kick()
			send(t, far, frame(70, 2))
			if _, n := d.Queue(rx).Wait(); n != headerSize+70 {
				t.Errorf("after a new start %d bytes come in", n)
			}
		})
	}
}

func unlimited() ratelimit.Limits {
	return ratelimit.Limits{Bytes: &ratelimit.Bucket{}, Ops: &ratelimit.Bucket{}}
}

// TestFarEndCloses leaves a working device behind.
func TestFarEndCloses(t *testing.T) {
	d, far := wire(t, net.Config{})
	d.Start(mrgRxbuf)
	d.Queue(rx).Add(d.Room(100))
	d.Queue(rx).Kick()
	if err := unix.Shutdown(far, unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		transmit(d, frame(60, 1)) // is lost
	}
	d.Start(mrgRxbuf)
	transmit(d, frame(60, 1))
}

func TestLimitersCharge(t *testing.T) {
	cfg := net.Config{RX: ratelimit.New(unlimited()), TX: ratelimit.New(unlimited())}
	d, far := wire(t, cfg)
	d.Start(mrgRxbuf)
	transmit(d, frame(100, 0))
	transmit(d, frame(13, 0)) // dropped
	d.Queue(rx).Add(d.Room(100))
	d.Queue(rx).Kick()
	send(t, far, frame(70, 0))
	d.Queue(rx).Wait()
	if s, want := cfg.TX.Stats(), (ratelimit.Stats{Ops: 1, Bytes: 100}); s != want {
		t.Errorf("sent %+v, want %+v", s, want)
	}
	if s, want := cfg.RX.Stats(), (ratelimit.Stats{Ops: 1, Bytes: 70}); s != want {
		t.Errorf("received %+v, want %+v", s, want)
	}
}

// TestFrameAllocatesNothing counts the allocations of device and driver.
func TestFrameAllocatesNothing(t *testing.T) {
	d, far := wire(t, net.Config{MTU: 9000})
	d.Start(mrgRxbuf | virtio.FeatureEventIdx)
	header, out, buf := d.Put(make([]byte, headerSize)), d.Put(frame(9000, 0)), make([]byte, 10_000)
	if n := testing.AllocsPerRun(100, func() {
		d.Queue(tx).Do(header, out)
		if _, err := unix.Read(far, buf); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations per frame sent", n)
	}
	q, room := d.Queue(rx), d.Room(1500)
	for q.Free() > 0 {
		q.Add(room)
	}
	q.Kick()
	if n := testing.AllocsPerRun(100, func() {
		if _, err := unix.Write(far, buf[:9000]); err != nil {
			t.Fatal(err)
		}
		for range 7 {
			q.Wait()
			q.Add(room)
		}
		q.Kick()
	}); n != 0 {
		t.Errorf("%v allocations per frame received", n)
	}
}

// FuzzFrames sends a frame of any bytes in pieces of any size, while the guest has
// rooms of any size; the next ordinary frame arrives.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x08\x06arp"), uint8(7), uint16(60), uint16(100), true)
	f.Add([]byte{}, uint8(0), uint16(0), uint16(0), false)
	f.Add([]byte("short"), uint8(1), uint16(13), uint16(11), true)
	f.Add(bytes.Repeat([]byte{0xff}, 1600), uint8(255), uint16(1518), uint16(12), true)
	f.Add(bytes.Repeat([]byte{0xff}, 40), uint8(3), uint16(60_000), uint16(1), false)
	f.Fuzz(func(t *testing.T, out []byte, cut uint8, in, room uint16, merge bool) {
		d, far := wire(t, net.Config{})
		d.Start(map[bool]uint64{true: mrgRxbuf}[merge])
		q := d.Queue(rx)
		for range 20 {
			q.Add(d.Room(int(room)))
		}
		q.Kick()
		send(t, far, frame(int(in)+1, 0))
		out = out[:min(len(out), 1<<16)]
		step := max(int(cut)+1, len(out)/100+1)
		chain := []virtiotest.Buffer{d.Put(nil)}
		for at := 0; at < len(out); at += step {
			chain = append(chain, d.Put(out[at:min(at+step, len(out))]))
		}
		d.Queue(tx).Do(chain...)
		if n := len(out) - headerSize; n >= 14 && n <= 1518 {
			if got := receive(t, far); !bytes.Equal(got, out[headerSize:]) {
				t.Fatalf("%d bytes arrive of %d", len(got), n)
			}
		}
		transmit(d, frame(60, 1))
		if got := receive(t, far); !bytes.Equal(got, frame(60, 1)) {
			t.Fatalf("%d bytes arrive of the ordinary frame", len(got))
		}
		d.Close()
	})
}
