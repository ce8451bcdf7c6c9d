package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/spf13/pflag"

	"github.com/mvm-project/mvm/internal/container"
	"github.com/mvm-project/mvm/internal/hostfs"
	"github.com/mvm-project/mvm/internal/volume"
)

// mountFlags are run's and create's that mount something, as they were given.
type mountFlags struct {
	volumes, mounts, tmpfs []string
}

func (f *mountFlags) register(fs *pflag.FlagSet) {
	fs.StringArrayVarP(&f.volumes, "volume", "v", nil, "mount a volume, or a folder or file of the host: `[NAME|SOURCE:]PATH[:ro,nocopy]`")
	fs.StringArrayVar(&f.mounts, "mount", nil, "mount as docker does: type=bind|volume|tmpfs|image,`SPEC`")
	fs.StringArrayVar(&f.tmpfs, "tmpfs", nil, "mount a tmpfs: `PATH[:OPTIONS]`")
}

// parse checks the flags and adds them to what describes a container.
func (f *mountFlags) parse(o *container.Options) error {
	o.Tmpfs = map[string]string{}
	for _, s := range f.tmpfs {
		dir, options, _ := strings.Cut(s, ":")
		if err := addTmpfs(o, dir, options); err != nil {
			return fmt.Errorf("--tmpfs: bad mount %q: %w", s, err)
		}
	}
	for _, s := range f.volumes {
		m, err := parseVolume(s)
		if err != nil {
			return fmt.Errorf("--volume: bad mount %q: %w", s, err)
		}
		o.Mounts = append(o.Mounts, m)
	}
	for _, s := range f.mounts {
		if err := addMount(o, s); err != nil {
			return fmt.Errorf("--mount: bad mount %q: %w", s, err)
		}
	}
	return container.CheckMounts(*o)
}

func addTmpfs(o *container.Options, dir, options string) error {
	dir, err := cleanTarget(dir)
	if err != nil {
		return err
	}
	if _, twice := o.Tmpfs[dir]; twice {
		return fmt.Errorf("%s is given twice", dir)
	}
	o.Tmpfs[dir] = options
	return nil
}

// cleanTarget is a path to mount on.
func cleanTarget(dir string) (string, error) {
	if !path.IsAbs(dir) || path.Clean(dir) == "/" {
		return "", fmt.Errorf("%q is no place for it: want an absolute path other than /", dir)
	}
	return path.Clean(dir), nil
}

// anonymous is a mount of a volume that nobody names: it is for one container.
func anonymous(m container.Mount) container.Mount {
	m.Type, m.Source, m.Anonymous = container.VolumeMount, volume.RandomName(), true
	return m
}

// imageVolumes adds a fresh volume for each VOLUME of an image where the user has
// nothing mounted.
func imageVolumes(o *container.Options, paths []string) error {
	for _, p := range paths {
		dir, err := cleanTarget(p)
		if err != nil {
			return fmt.Errorf("VOLUME: %w", err)
		}
		_, taken := o.Tmpfs[dir]
		if !taken && !slices.ContainsFunc(o.Mounts, func(m container.Mount) bool { return m.Path == dir }) {
			o.Mounts = append(o.Mounts, anonymous(container.Mount{Path: dir}))
		}
	}
	return container.CheckMounts(*o)
}

// parseVolume reads PATH, NAME:PATH[:OPTION,...], or SOURCE:PATH[:OPTION,...] of what
// the host has: a path is told from a name by how it begins.
func parseVolume(s string) (m container.Mount, err error) {
	part := strings.Split(s, ":")
	if len(part) == 1 {
		m.Path, err = cleanTarget(s)
		return anonymous(m), err
	}
	if len(part) > 3 {
		return m, errors.New("want PATH, NAME:PATH or /SOURCE:PATH, then perhaps :ro or :nocopy")
	}
	m = container.Mount{Type: container.VolumeMount, Source: part[0]}
	if m.Path, err = cleanTarget(part[1]); err != nil {
		return m, err
	}
	if strings.HasPrefix(m.Source, "/") || strings.HasPrefix(m.Source, ".") {
		m.Type = container.BindMount
	}
	if len(part) == 3 {
		if err := setOptions(&m, strings.Split(part[2], ",")); err != nil {
			return m, err
		}
	}
	return m, checkSource(&m)
}

func setOptions(m *container.Mount, options []string) error {
	for _, option := range options {
		switch option {
		case "rw", "z", "Z": // the guest's kernel has no SELinux
		case "ro":
			m.ReadOnly = true
		case "nocopy":
			m.NoCopy = true
		default:
			return fmt.Errorf("there is no option %q: want ro, rw or nocopy", option)
		}
	}
	return nil
}

// checkSource looks at what is to be mounted.
func checkSource(m *container.Mount) error {
	switch m.Type {
	case container.BindMount:
		if m.NoCopy {
			return errors.New("nothing is copied into a folder of the host: nocopy is for volumes")
		}
		return checkShared(m)
	case container.VolumeMount:
		if strings.ContainsAny(m.Source, "/~") {
			return fmt.Errorf("%q is no volume's name: a folder of the host begins with / or ./", m.Source)
		}
		return volume.CheckName(m.Source)
	}
	return nil
}

// checkShared looks at what is to be shared with the host.
func checkShared(m *container.Mount) (err error) {
	if m.Source, err = filepath.Abs(m.Source); err != nil {
		return err
	}
	f, file, err := hostfs.Open(m.Source)
	if err != nil {
		return err
	}
	m.File = file
	return f.Close()
}

// spec is a --mount as it is read.
type spec struct {
	container.Mount
	tmpfs []string // its options
}

// addMount reads docker's KEY=VALUE,... of one mount.
func addMount(o *container.Options, s string) error {
	fields, err := csv.NewReader(strings.NewReader(s)).Read()
	if err != nil {
		return errors.New("want KEY=VALUE,KEY=VALUE")
	}
	m := spec{Mount: container.Mount{Type: container.VolumeMount}}
	for _, field := range fields {
		key, value, valued := strings.Cut(field, "=")
		if err := m.set(strings.ToLower(key), value, valued); err != nil {
			return err
		}
	}
	if m.Path, err = cleanTarget(m.Path); err != nil {
		return err
	}
	if m.Type == container.TmpfsMount {
		if m.Source != "" {
			return errors.New("a tmpfs has no source")
		}
		return addTmpfs(o, m.Path, strings.Join(m.tmpfs, ","))
	}
	if m.Source == "" && m.Type == container.VolumeMount {
		m.Mount = anonymous(m.Mount)
	}
	if m.Source == "" {
		return errors.New("source= is missing")
	}
	if len(m.tmpfs) > 0 && !slices.Equal(m.tmpfs, []string{"ro"}) {
		return errors.New("tmpfs-size and tmpfs-mode are for type=tmpfs")
	}
	if err := checkSource(&m.Mount); err != nil {
		return err
	}
	o.Mounts = append(o.Mounts, m.Mount)
	return nil
}

// set takes one field.
func (m *spec) set(key, value string, valued bool) (err error) {
	switch key {
	case "type":
		return m.setType(value)
	case "source", "src":
		m.Source = value
	case "target", "destination", "dst":
		m.Path = value
	case "readonly", "ro":
		m.ReadOnly, err = truth(value, valued)
		if m.ReadOnly {
			m.tmpfs = append(m.tmpfs, "ro")
		}
	case "volume-nocopy":
		m.NoCopy, err = truth(value, valued)
	case "tmpfs-size":
		var n int64
		if n, err = units.RAMInBytes(value); err != nil || n <= 0 {
			return fmt.Errorf("bad size %q: want a number with a unit, such as 64m", value)
		}
		m.tmpfs = append(m.tmpfs, fmt.Sprintf("size=%d", n))
	case "tmpfs-mode":
		if _, err = strconv.ParseUint(value, 8, 12); err != nil {
			return fmt.Errorf("bad mode %q: want an octal number, such as 1777", value)
		}
		m.tmpfs = append(m.tmpfs, "mode="+value)
	default:
		return fmt.Errorf("there is no key %q: want type, source, target, readonly, volume-nocopy, tmpfs-size or tmpfs-mode", key)
	}
	return err
}

func (m *spec) setType(s string) error {
	switch t := container.MountType(s); t {
	case container.VolumeMount, container.TmpfsMount, container.BindMount:
		m.Type = t
	case container.ImageMount:
		m.Type, m.ReadOnly = t, true
	default:
		return fmt.Errorf("there is no type %q: want bind, volume, tmpfs or image", s)
	}
	return nil
}

// truth reads a switch: KEY, or KEY=true and its like.
func truth(value string, valued bool) (bool, error) {
	if !valued {
		return true, nil
	}
	b, err := strconv.ParseBool(value)
	if err != nil {
		return false, fmt.Errorf("%q is neither true nor false", value)
	}
	return b, nil
}
