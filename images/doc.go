// Package images turns image references into read-only root disks.
//
// A Store is a folder that any number of processes use at once; each of them may
// be killed at any instruction. It is an OCI image layout (other tools can read
// it as one) with the disks beside:
//
//	oci-layout, index.json      the images: names -> manifest digests
//	blobs/sha256/HEX            manifests, configs and layers, verified
//	disks/CHAIN.erofs           root disks, named by the chain of their layers
//	partial/HEX                 downloads to be taken up again
//	tmp/                        files being written
//	locks/                      advisory locks, held only while a call runs
//
// A file under its last name is complete and never changes. See docs/images.md.
package images
