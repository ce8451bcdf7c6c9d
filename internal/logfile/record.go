// Package logfile keeps what a container printed: mvm-vmm writes it, mvm logs
// reads it, at the same time if need be.
//
// A log is a few files: NAME, which grows, and NAME.1, NAME.2 and so on, the
// older ones. A file is a sequence of records, each of what one read of a stream
// brought, byte for byte:
//
//	offset  size
//	0       4    n, the length of the data, at most MaxData (little-endian, as all)
//	4       1    stream
//	5       3    zero
//	8       8    time, nanoseconds since the Unix epoch
//	16      n    data
//	16+n    4    n again, which tells a whole record from one that was cut off
//
// A record is written by one write(2). What a kill or a full disk cut off is
// recognised by its length and dropped.
package logfile

import (
	"encoding/binary"
	"errors"
	"time"
)

// Stream is where a record's data came from.
type Stream byte

// The streams. A record of Lost has no data of a container's but says what is
// missing at that place: a number of bytes in decimal, a space, and why.
const (
	Stdout Stream = 1
	Stderr Stream = 2
	Lost   Stream = 3
)

// MaxData bounds the data of one record, in bytes.
const MaxData = 64 << 10

const (
	headSize = 16
	tailSize = 4
	overhead = headSize + tailSize
)

// Record is one piece of a log.
type Record struct {
	Stream Stream
	Time   time.Time
	Data   []byte
}

// errDamaged says that bytes are no record.
var errDamaged = errors.New("the log is damaged")

// appendRecord appends r's encoding to b.
func appendRecord(b []byte, r Record) []byte {
	n := uint32(len(r.Data)) // at most MaxData
	b = binary.LittleEndian.AppendUint32(b, n)
	b = append(b, byte(r.Stream), 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.Time.UnixNano()))
	b = append(b, r.Data...)
	return binary.LittleEndian.AppendUint32(b, n)
}

// parse takes the first record off b; its data is a part of b. It returns size 0
// if b holds only the beginning of a record.
func parse(b []byte) (r Record, size int, err error) {
	if len(b) < headSize {
		return Record{}, 0, nil
	}
	n := binary.LittleEndian.Uint32(b)
	stream := Stream(b[4])
	if n > MaxData || stream < Stdout || stream > Lost || b[5] != 0 || b[6] != 0 || b[7] != 0 {
		return Record{}, 0, errDamaged
	}
	size = overhead + int(n)
	if len(b) < size {
		return Record{}, 0, nil
	}
	if binary.LittleEndian.Uint32(b[size-tailSize:]) != n {
		return Record{}, 0, errDamaged
	}
	return Record{
		Stream: stream,
		Time:   time.Unix(0, int64(binary.LittleEndian.Uint64(b[8:]))),
		Data:   b[headSize : size-tailSize],
	}, size, nil
}
