package virtio

// Queue is a split virtqueue (spec 2.7).
type Queue struct{}
