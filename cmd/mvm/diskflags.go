package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/docker/go-units"
	"github.com/spf13/pflag"

	"github.com/mvm-project/mvm/internal/container"
	"github.com/mvm-project/mvm/internal/ext4"
)

// diskFlags are run's and create's that are about disks, as they were given.
type diskFlags struct {
	disks, storage []string
}

func (f *diskFlags) register(fs *pflag.FlagSet) {
	fs.StringArrayVar(&f.disks, "disk", nil, "attach a raw disk image, or block device: `FILE[:ro]`; the first is /dev/vda")
	fs.StringArrayVar(&f.storage, "storage-opt", nil, "size=`SIZE` of its writable layer (default 10g)")
}

// parse checks the flags and adds them to what describes a container.
func (f *diskFlags) parse(o *container.Options) error {
	if n := len(f.disks); n > container.MaxDisks {
		return fmt.Errorf("--disk: %d disks: a container has room for %d", n, container.MaxDisks)
	}
	for _, s := range f.disks {
		d, err := container.ParseDisk(s)
		if err != nil {
			return fmt.Errorf("--disk: %w", err)
		}
		o.Disks = append(o.Disks, d)
	}
	var err error
	for _, s := range f.storage {
		if o.ReadOnly {
			return errors.New("--storage-opt has no use with --read-only: there is no writable layer")
		}
		if o.LayerSize, err = parseStorage(s); err != nil {
			return fmt.Errorf("--storage-opt: %w", err)
		}
	}
	o.LayerSize, err = ext4.Size(o.LayerSize)
	return err
}

// parseStorage reads docker's size=SIZE.
func parseStorage(s string) (int64, error) {
	name, value, _ := strings.Cut(s, "=")
	if name != "size" {
		return 0, fmt.Errorf("bad option %q: want size=SIZE", s)
	}
	return parseSize(value)
}

// parseSize reads the size of a file system, as docker reads sizes.
func parseSize(s string) (int64, error) {
	n, err := units.RAMInBytes(s)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("bad size %q: want a number with a unit, such as 500m or 20g", s)
	}
	return ext4.Size(n)
}
