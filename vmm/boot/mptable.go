package boot

import (
	"encoding/binary"
	"fmt"
)

// IOAPICAddr is where the MP table says that the I/O APIC is.
const IOAPICAddr = 0xfec0_0000

// mpTable is an Intel MultiProcessor Specification 1.4 table: processors whose
// local APIC IDs count from 0, and one I/O APIC whose pins are the interrupt lines
// (GSIs) of the same numbers, each an edge, as on the ISA bus. It spares the guest
// ACPI.
type mpTable struct{ vcpus, lines int }

// MaxVCPUs is how many processors an MP table can name: APIC IDs are bytes, one
// is the I/O APIC's and one means all.
const MaxVCPUs = 254

const (
	mpVersion     = 4 // 1.4
	mpFloatSize   = 16
	mpHeaderSize  = 44
	mpCPU         = 0
	mpBus         = 1
	mpIOAPIC      = 2
	mpIOInterrupt = 3
	mpLocalInt    = 4
	mpCPUSize     = 20
	mpEntrySize   = 8 // of every other kind

	cpuEnabled     = 1
	cpuBoot        = 2
	apicVersion    = 0x14
	cpuSignature   = 0x600
	cpuFeatures    = 0x201 // FPU and APIC
	ioapicUsable   = 1
	localAPICAddr  = 0xfee0_0000
	intVectored    = 0
	intNMI         = 1
	everyLocalAPIC = 0xff
)

func (t mpTable) write(mem Memory) error {
	if t.vcpus < 1 || t.vcpus > MaxVCPUs {
		return fmt.Errorf("%d vCPUs: an MP table names 1 to %d", t.vcpus, MaxVCPUs)
	}
	table := t.table()
	for gpa, b := range map[uint64][]byte{mpFloatAddr: mpFloat(), mpTableAddr: table} {
		p, err := mem.Slice(gpa, len(b))
		if err != nil {
			return err
		}
		copy(p, b)
	}
	return nil
}

// mpFloat points to the table (MP 1.4, 4.1).
func mpFloat() []byte {
	p := make([]byte, mpFloatSize)
	copy(p, "_MP_")
	binary.LittleEndian.PutUint32(p[4:], mpTableAddr)
	p[8], p[9] = mpFloatSize/16, mpVersion
	p[10] = checksum(p)
	return p
}

// table is the configuration table (MP 1.4, 4.2 and 4.3).
func (t mpTable) table() []byte {
	le := binary.LittleEndian
	p := make([]byte, mpHeaderSize)
	count := 0
	add := func(size int, b ...byte) {
		p = append(append(p, b...), make([]byte, size-len(b))...)
		count++
	}
	for i := range byte(t.vcpus) {
		flags := byte(cpuEnabled)
		if i == 0 {
			flags |= cpuBoot
		}
		add(mpCPUSize, mpCPU, i, apicVersion, flags, cpuSignature&0xff, cpuSignature>>8, 0, 0, cpuFeatures&0xff, cpuFeatures>>8)
	}
	add(mpEntrySize, mpBus, 0, 'I', 'S', 'A', ' ', ' ', ' ')
	ioapic := le.AppendUint32([]byte{mpIOAPIC, byte(t.vcpus), apicVersion, ioapicUsable}, IOAPICAddr)
	add(mpEntrySize, ioapic...)
	for line := range byte(t.lines) {
		add(mpEntrySize, mpIOInterrupt, intVectored, 0, 0, 0, line, byte(t.vcpus), line)
	}
	add(mpEntrySize, mpLocalInt, intNMI, 0, 0, 0, 0, everyLocalAPIC, 1)

	copy(p, "PCMP")
	le.PutUint16(p[4:], uint16(len(p)))
	p[6] = mpVersion
	copy(p[8:], "MVM     MICROVM     ")
	le.PutUint16(p[34:], uint16(count))
	le.PutUint32(p[36:], localAPICAddr)
	p[7] = checksum(p)
	return p
}

// checksum is the byte that makes the sum of all zero.
func checksum(p []byte) byte {
	var sum byte
	for _, b := range p {
		sum += b
	}
	return -sum
}
