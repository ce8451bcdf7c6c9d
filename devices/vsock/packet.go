package vsock

import (
	"encoding/binary"
	"fmt"

	"github.com/mvm-project/mvm/devices/virtio"
)

// headerSize is the size of struct virtio_vsock_hdr (spec 5.10.6).
const headerSize = 44

// op says what a packet is for (spec 5.10.6).
type op uint16

const (
	opRequest       op = 1
	opResponse      op = 2
	opReset         op = 3
	opShutdown      op = 4
	opData          op = 5 // VIRTIO_VSOCK_OP_RW
	opCreditUpdate  op = 6
	opCreditRequest op = 7
)

const (
	typeStream = 1

	// Flags of opShutdown: the sender will not receive, or not send, any more.
	shutReceive = 1 << 0
	shutSend    = 1 << 1
	shutBoth    = shutReceive | shutSend
)

// header is struct virtio_vsock_hdr.
type header struct {
	srcCID, dstCID   uint64
	srcPort, dstPort uint32
	length           uint32
	kind             uint16
	op               op
	flags            uint32
	bufAlloc, fwdCnt uint32
}

func (h header) encode() [headerSize]byte {
	var b [headerSize]byte
	le := binary.LittleEndian
	le.PutUint64(b[0:], h.srcCID)
	le.PutUint64(b[8:], h.dstCID)
	le.PutUint32(b[16:], h.srcPort)
	le.PutUint32(b[20:], h.dstPort)
	le.PutUint32(b[24:], h.length)
	le.PutUint16(b[28:], h.kind)
	le.PutUint16(b[30:], uint16(h.op))
	le.PutUint32(b[32:], h.flags)
	le.PutUint32(b[36:], h.bufAlloc)
	le.PutUint32(b[40:], h.fwdCnt)
	return b
}

func decode(b [headerSize]byte) header {
	le := binary.LittleEndian
	return header{
		srcCID:   le.Uint64(b[0:]),
		dstCID:   le.Uint64(b[8:]),
		srcPort:  le.Uint32(b[16:]),
		dstPort:  le.Uint32(b[20:]),
		length:   le.Uint32(b[24:]),
		kind:     le.Uint16(b[28:]),
		op:       op(le.Uint16(b[30:])),
		flags:    le.Uint32(b[32:]),
		bufAlloc: le.Uint32(b[36:]),
		fwdCnt:   le.Uint32(b[40:]),
	}
}

// readPacket takes a packet from the guest's buffers: its header, copied once,
// and its payload, still in guest memory.
func readPacket(b virtio.Buffers) (header, virtio.Buffers, error) {
	var raw [headerSize]byte
	if n, _ := b.Read(raw[:]); n < headerSize {
		return header{}, nil, fmt.Errorf("packet of %d bytes, shorter than its header", n)
	}
	h := decode(raw)
	if uint64(h.length) > uint64(b.Len()) {
		return h, nil, fmt.Errorf("packet of %d bytes claims %d", b.Len(), h.length)
	}
	b.Truncate(int(h.length))
	return h, b, nil
}
