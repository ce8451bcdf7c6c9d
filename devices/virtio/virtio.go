// Package virtio is what every virtio device shares: the contract between a
// device and its transport, guest memory as a device sees it, and the split
// virtqueue of the virtio 1.2 specification ("the spec" below).
package virtio

// Memory is guest RAM by guest-physical address (GPA). Every address a guest
// hands to a device goes through it.
type Memory interface {
	// Slice returns the n bytes of RAM at gpa, aliasing the guest's memory, or
	// an error if any of them is not RAM. The guest may change them at any
	// time: copy once, then validate.
	Slice(gpa uint64, n int) ([]byte, error)
}

// Device is a virtio device behind a transport. The transport calls its methods
// one at a time.
type Device interface {
	// Type is the device ID (spec 5).
	Type() uint32
	// Features are the feature bits offered, without VIRTIO_F_VERSION_1, which
	// the transport adds.
	Features() uint64
	// QueueSizes gives the largest size of each virtqueue, a power of two.
	QueueSizes() []uint16
	// ReadConfig fills p from the device configuration space at off; what lies
	// past its end reads as zero.
	ReadConfig(off uint32, p []byte)
	// Start begins service with the features the driver accepted: at DRIVER_OK,
	// at resume and at restore. A queue the driver left disabled is nil.
	Start(features uint64, queues []*Queue) error
	// Stop ends service and returns when every goroutine of the device has
	// ended: at reset, at pause and at close. Stopping a stopped device is a
	// no-op.
	Stop() error
}
