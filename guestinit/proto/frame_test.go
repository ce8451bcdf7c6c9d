package proto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// frame is a frame whose header says n, whatever the body is.
func frame(n uint32, body string) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, n), body...)
}

func TestReadRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		in   []byte
		want error // nil: any
	}{
		"nothing":       {nil, io.EOF},
		"half a header": {[]byte{1, 0}, io.ErrUnexpectedEOF},
		"no body":       {frame(5, ""), io.ErrUnexpectedEOF},
		"half a body":   {frame(5, "{}"), io.ErrUnexpectedEOF},
		"too long":      {frame(MaxRequest+1, "{}"), nil},
		"4 GiB":         {frame(1<<32-1, "{}"), nil},
		"no JSON":       {frame(3, "{}}"), nil},
		"empty":         {frame(0, ""), nil},
		"no field":      {frame(2, "{}"), nil},
		"null":          {frame(4, "null"), nil},
		"wrong type":    {frame(11, `{"Hello":1}`), nil},
		"deep":          {frame(20000, strings.Repeat("[", 20000)), nil},
	} {
		t.Run(name, func(t *testing.T) {
			if m, err := ReadMessage(bytes.NewReader(c.in)); err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("message %+v, error %v", m, err)
			}
			if q, err := ReadRequest(bytes.NewReader(c.in)); err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("request %+v, error %v", q, err)
			}
		})
	}
	for _, two := range []string{
		`{"Hello":{},"Exited":{}}`, `{"Reply":{"ID":1,"Usage":{},"Spawned":{}}}`,
		`{"Setup":{},"Create":{}}`,
	} {
		in := frame(uint32(len(two)), two)
		if _, err := ReadMessage(bytes.NewReader(in)); err == nil {
			t.Errorf("message %s", two)
		}
		if _, err := ReadRequest(bytes.NewReader(in)); err == nil {
			t.Errorf("request %s", two)
		}
	}
}

// A length is only a claim: memory grows with what arrives.
func TestReadAllocates(t *testing.T) {
	in := frame(MaxRequest, "{")
	if n := testing.AllocsPerRun(10, func() { _, _ = ReadRequest(bytes.NewReader(in)) }); n > 20 {
		t.Errorf("%v allocations", n)
	}
	before, after := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			_, _ = ReadRequest(bytes.NewReader(in))
		}
	}), 16<<10
	if before.AllocedBytesPerOp() > int64(after) {
		t.Errorf("%d bytes for a frame that claims %d and has 1", before.AllocedBytesPerOp(), MaxRequest)
	}
}

func TestWriteRefuses(t *testing.T) {
	if err := WriteMessage(io.Discard, Message{Reply: &Reply{Error: &Error{Text: strings.Repeat("x", MaxMessage)}}}); err == nil {
		t.Error("a message that is too long")
	}
	q := Request{Spawn: &Spawn{Spec: Process{Env: []string{strings.Repeat("x", MaxRequest)}}}}
	var buf bytes.Buffer
	if err := WriteRequests(&buf, Request{Setup: &Setup{}}, q); err == nil || buf.Len() > 0 {
		t.Errorf("a request that is too long: %v, and %d bytes are out", err, buf.Len())
	}
	if err := WriteRequests(iotest.TruncateWriter(io.Discard, 1), Request{Setup: &Setup{}}); err != nil {
		t.Error(err)
	}
}

// requests draws any request.
func requests() *rapid.Generator[Request] {
	return rapid.Custom(func(t *rapid.T) Request {
		text, id := rapid.String(), rapid.StringMatching(`[a-z0-9][a-z0-9._-]{0,9}`)
		num := rapid.Int64Range(-1, 1<<40)
		addr := rapid.Custom(func(t *rapid.T) netip.Addr {
			b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "bytes")
			if rapid.Bool().Draw(t, "IPv4") {
				b = b[:4]
			}
			a, _ := netip.AddrFromSlice(b)
			return a
		})
		q := Request{ID: rapid.Uint64().Draw(t, "number")}
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0:
			q.Setup = &Setup{Seed: rapid.SliceOfN(rapid.Byte(), 32, 64).Draw(t, "seed"), Time: num.Draw(t, "time")}
			if rapid.Bool().Draw(t, "network") {
				q.Setup.Interface = &Interface{
					Name:      text.Draw(t, "interface"),
					Addresses: []netip.Prefix{netip.PrefixFrom(addr.Draw(t, "address"), rapid.IntRange(0, 32).Draw(t, "bits"))},
					Gateways:  []netip.Addr{addr.Draw(t, "gateway")},
				}
			}
		case 1:
			q.Create = &Create{Container{
				ID: id.Draw(t, "id"), Hostname: text.Draw(t, "host"),
				Tmpfs: rapid.MapOfN(text, text, 1, 3).Draw(t, "tmpfs"),
				Addr:  addr.Draw(t, "address"), Hosts: []Host{{text.Draw(t, "name"), addr.Draw(t, "its address")}},
				Resolver: &Resolver{Servers: []netip.Addr{addr.Draw(t, "server")}, Search: []string{text.Draw(t, "search")}},

				Limits: Limits{Memory: num.Draw(t, "memory"), PIDs: num.Draw(t, "pids")},
			}}
		case 2:
			q.Spawn = &Spawn{id.Draw(t, "id"), id.Draw(t, "id"), Process{
				Args: rapid.SliceOfN(text, 1, 5).Draw(t, "args"), Env: rapid.SliceOfN(text, 1, 5).Draw(t, "env"),
				TTY: &Size{rapid.Uint16().Draw(t, "rows"), rapid.Uint16().Draw(t, "cols")},
			}}
		case 3:
			q.Signal = &Signal{id.Draw(t, "id"), id.Draw(t, "id"), rapid.Int().Draw(t, "signo")}
		case 4:
			q.Freeze = &Freeze{id.Draw(t, "id"), rapid.Bool().Draw(t, "thaw")}
		default:
			q.Delete = &Delete{id.Draw(t, "id")}
		}
		return q
	})
}

// What is written is read, one after another, however the bytes come.
func TestRequestsRoundTrip(t *testing.T) {
	addrs := cmp.Options{cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })}
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(requests(), 1, 4).Draw(t, "requests")
		var buf bytes.Buffer
		if err := WriteRequests(&buf, want...); err != nil {
			t.Fatal(err)
		}
		r := iotest.OneByteReader(&buf)
		for _, w := range want {
			got, err := ReadRequest(r)
			if err != nil || !cmp.Equal(got, w, addrs) {
				t.Fatalf("%v\n%s", err, cmp.Diff(w, got, addrs))
			}
		}
		if _, err := ReadRequest(r); !errors.Is(err, io.EOF) {
			t.Fatalf("at the end: %v", err)
		}
	})
}

func TestErrors(t *testing.T) {
	inner := Errorf(NotFound, "no %s", "ls")
	e := ErrorOf(errors.Join(errors.New("first"), inner))
	if e.Code != NotFound || e.Text != "first\nno ls" || e.Status() != 127 {
		t.Errorf("%+v", e)
	}
	if e := ErrorOf(io.EOF); e.Code != Failed || e.Status() != 125 {
		t.Errorf("%+v", e)
	}
	if (&Error{Code: NotExecutable}).Status() != 126 || (&Exited{Signal: 9}).Status() != 137 || (&Exited{Code: 3}).Status() != 3 {
		t.Error("statuses")
	}
}

func TestCheckID(t *testing.T) {
	for _, id := range []string{"a", "0", "a.b-c_d", strings.Repeat("x", 64)} {
		if err := CheckID(id); err != nil {
			t.Error(err)
		}
	}
	for _, id := range []string{"", ".", "..", "-a", "a/b", "a b", "ä", "a\x00", strings.Repeat("x", 65)} {
		if CheckID(id) == nil {
			t.Errorf("%q", id)
		}
	}
}
