// Package virtio is what every virtio device shares: the contract between a
// device and its transport, guest memory as a device sees it, and the split
// virtqueue of the virtio 1.2 specification ("the spec" below).
package virtio

// Memory is guest RAM by guest-physical address (GPA). Every address a guest
// hands to a device goes through it.
type Memory interface {
	// Slice returns the n bytes of RAM at gpa, aliasing the guest's memory, or
	// an error if any of them is not RAM. The guest may change them at any
	// time: copy once, then validate. The slice's own address is aligned as gpa
	// is, up to a page.
	Slice(gpa uint64, n int) ([]byte, error)
}

// Feature bits of rings and transports (spec 6), which the transport offers for
// every device.
const (
	// FeatureEventIdx lets both sides say at which ring entry they want to be
	// notified next (spec 2.7.7, 2.7.10). A kick costs an exit and an interrupt
	// two more (status and acknowledge), so notifications nobody waits for are
	// worth leaving out.
	FeatureEventIdx = 1 << 29
	// FeatureVersion1 is set by every driver that is not of the legacy kind.
	FeatureVersion1 = 1 << 32
)

// VIRTIO_F_INDIRECT_DESC is not offered: the driver would allocate and free a
// descriptor table for each request, which is dear where the guest's kernel
// runs slowly, to gain depth that one synchronous worker cannot use; and a
// second kind of table is a second parser of hostile input.

// Device is a virtio device behind a transport. The transport calls its methods
// one at a time.
type Device interface {
	// Type is the device ID (spec 5).
	Type() uint32
	// Features are the device's own feature bits (0 to 23); the transport adds
	// those of rings and transports.
	Features() uint64
	// QueueSizes gives the largest size of each virtqueue, a power of two.
	QueueSizes() []uint16
	// ReadConfig fills p from the device configuration space at off; what lies
	// past its end reads as zero. p is zeroed beforehand.
	ReadConfig(off uint32, p []byte)
	// Start begins service with the features the driver accepted: at DRIVER_OK,
	// at resume and at restore. A queue the driver left disabled is nil. After
	// an error nothing of the device runs.
	Start(features uint64, queues []*Queue) error
	// Stop ends service and returns when every goroutine of the device has
	// ended: at reset, at pause and at close. Stopping a stopped device is a
	// no-op.
	Stop() error
}
