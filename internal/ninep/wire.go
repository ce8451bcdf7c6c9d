package ninep

import (
	"encoding/binary"
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// kind is a message's type. A reply's is its request's plus one; an error is
// always rlerror.
type kind uint8

// The requests of 9P2000.L: net/9p/client.c and include/net/9p/9p.h of Linux.
const (
	rlerror      kind = 7
	tstatfs      kind = 8
	tlopen       kind = 12
	tlcreate     kind = 14
	tsymlink     kind = 16
	tmknod       kind = 18
	treadlink    kind = 22
	tgetattr     kind = 24
	tsetattr     kind = 26
	txattrwalk   kind = 30
	txattrcreate kind = 32
	treaddir     kind = 40
	tfsync       kind = 50
	tlock        kind = 52
	tgetlock     kind = 54
	tlink        kind = 70
	tmkdir       kind = 72
	trenameat    kind = 74
	tunlinkat    kind = 76
	tversion     kind = 100
	tattach      kind = 104
	tflush       kind = 108
	twalk        kind = 110
	tread        kind = 116
	twrite       kind = 118
	tclunk       kind = 120
	tremove      kind = 122
)

const (
	headerSize = 7 // size[4] kind[1] tag[2]
	noTag      = 0xffff
	noFID      = 0xffffffff
	maxName    = 255 // bytes: Linux's NAME_MAX
	maxWalk    = 16  // names in one request
)

// errMalformed ends the connection of a client that does not speak the protocol.
var errMalformed = errors.New("a frame that is not 9P2000.L")

// fields are a message's body. What is missing reads as zero, and is noted.
type fields struct {
	p     []byte
	short bool
}

// take returns the next n bytes: zeros, if there are fewer and n is small.
func (f *fields) take(n int) []byte {
	if n > len(f.p) {
		f.p, f.short = nil, true
		return make([]byte, min(n, 8))
	}
	p := f.p[:n]
	f.p = f.p[n:]
	return p
}

func (f *fields) u8() uint8   { return f.take(1)[0] }
func (f *fields) u16() uint16 { return binary.LittleEndian.Uint16(f.take(2)) }
func (f *fields) u32() uint32 { return binary.LittleEndian.Uint32(f.take(4)) }
func (f *fields) u64() uint64 { return binary.LittleEndian.Uint64(f.take(8)) }

func (f *fields) text() string {
	n := int(f.u16())
	p := f.take(n)
	if f.short {
		return ""
	}
	return string(p)
}

// name is a folder's entry: one that cannot lead elsewhere.
func (f *fields) name() (string, error) {
	s := f.text()
	switch {
	case f.short:
		return "", errMalformed
	case s == "" || s == "." || s == ".." || strings.ContainsAny(s, "/\x00"):
		return "", unix.EINVAL
	case len(s) > maxName:
		return "", unix.ENAMETOOLONG
	}
	return s, nil
}

// end says whether the body was what its kind wants, and no more.
func (f *fields) end() error {
	if f.short || len(f.p) > 0 {
		return errMalformed
	}
	return nil
}

// reply is a message being written.
type reply struct{ p []byte }

func (r *reply) u8(v uint8)   { r.p = append(r.p, v) }
func (r *reply) u16(v uint16) { r.p = binary.LittleEndian.AppendUint16(r.p, v) }
func (r *reply) u32(v uint32) { r.p = binary.LittleEndian.AppendUint32(r.p, v) }
func (r *reply) u64(v uint64) { r.p = binary.LittleEndian.AppendUint64(r.p, v) }

func (r *reply) text(s string) {
	r.u16(uint16(len(s))) // paths and names of Linux's are shorter than 4096
	r.p = append(r.p, s...)
}

// qid is how the protocol names a file: it is the same as long as the file is.
type qid struct {
	kind uint8
	path uint64
}

func (r *reply) qid(q qid) {
	r.u8(q.kind)
	r.u32(0) // no version: the client reads and writes here, and keeps no copies
	r.u64(q.path)
}

// seal writes the header.
func (r *reply) seal(k kind, tag uint16) {
	binary.LittleEndian.PutUint32(r.p, uint32(len(r.p)))
	r.p[4] = byte(k)
	binary.LittleEndian.PutUint16(r.p[5:], tag)
}
