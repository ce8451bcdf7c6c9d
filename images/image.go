package images

import (
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Image is an image of the store, ready to run.
type Image struct {
	// Name is the short form of its name, as users write it: "alpine:latest",
	// "ghcr.io/a/b:1", "alpine@sha256:..."; empty when a newer image took it.
	Name string
	// ID is the digest of its config, Digest that of its manifest, or of the
	// multi-platform index it was pulled by; both as "sha256:HEX".
	ID, Digest string
	// Platform is "OS/ARCH" or "OS/ARCH/VARIANT".
	Platform string
	Created  time.Time
	// Size is the space its root disk takes, in bytes.
	Size   int64
	Config Config
	// RootDisk is the path of its root disk, RootFS the file system in it:
	// "erofs". The file is shared: it must not be written. Whoever needs it to
	// outlast the image makes a hard link.
	RootDisk, RootFS string
}

// Config is what an image says about running it (OCI image specification,
// config.md); empty fields are unset.
type Config struct {
	Entrypoint, Cmd []string
	Env             []string // "NAME=value"
	User            string   // user[:group], names or numbers
	WorkingDir      string
	StopSignal      string // "SIGTERM" or a number
	Labels          map[string]string
	Volumes         []string // paths
	ExposedPorts    []string // "80/tcp"
}

func newConfig(c v1.Config) Config {
	return Config{
		Entrypoint: c.Entrypoint, Cmd: c.Cmd, Env: c.Env, User: c.User,
		WorkingDir: c.WorkingDir, StopSignal: c.StopSignal, Labels: c.Labels,
		Volumes: sortedKeys(c.Volumes), ExposedPorts: sortedKeys(c.ExposedPorts),
	}
}
