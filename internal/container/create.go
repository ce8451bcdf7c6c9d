package container

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/mvm-project/mvm/guestinit/proto"
	"github.com/mvm-project/mvm/internal/control"
	"github.com/mvm-project/mvm/internal/folder"
	"github.com/mvm-project/mvm/internal/hostnet"
	"github.com/mvm-project/mvm/internal/logfile"
	"github.com/mvm-project/mvm/vmm"
)

// Options describes a container to be made.
type Options struct {
	// Name is unique among the containers; empty: one is made up.
	Name string
	// Image is the image as the user named it; RootDisk and RootFS are its root
	// disk and the file system in it.
	Image, RootDisk, RootFS string
	// Remove removes the container when its process has ended.
	Remove bool
	// ReadOnly gives it no writable layer.
	ReadOnly bool
	// LayerSize is that of its writable layer, as of ext4.Size.
	LayerSize int64
	// Disks are the user's that it has, at most MaxDisks.
	Disks []Disk
	// Mounts are volumes and images, as of CheckMounts.
	Mounts []Mount
	// Hostname is the container's; empty: its ID.
	Hostname string
	// Tmpfs are tmpfs mounts: path -> options.
	Tmpfs   map[string]string
	Process proto.Process
	// Kernel and Initrd are files with absolute paths.
	Kernel, Initrd string
	// KernelArgs are further words of the kernel's command line.
	KernelArgs []string
	// PVM says that the host's KVM is a kvm-pvm and Kernel is made for it.
	PVM bool
	// CPUs is the CPU time it may use; its microVM has as many vCPUs, rounded up.
	CPUs CPUs
	// Memory is the microVM's, in bytes.
	Memory int64
	// Network is how it is connected.
	Network hostnet.Network
	// Limits bound what its devices do.
	Limits vmm.Limits
	// Console shows the guest's console on stderr.
	Console bool
	// Timeout ends the process when it has run so long; 0: never.
	Timeout time.Duration
	// Log bounds what is kept of what it prints; nil: nothing is.
	Log     *logfile.Limits
	Restart control.Restart
	Labels  map[string]string
	// StopSignal and StopPatience are as in Config.
	StopSignal   int
	StopPatience time.Duration
	// PIDs is how many processes and threads it may have; 0: no bound.
	PIDs int64
	// Unmasked leaves all of /proc and /sys to be seen and written.
	Unmasked bool
	// ShmSize is the size of /dev/shm in bytes; 0: 64 MiB.
	ShmSize int64
	// Sysctls are parameters of its kernel: name -> value.
	Sysctls map[string]string
	// OwnKernel says that Kernel is the user's.
	OwnKernel bool

	// IDFile gets the container's ID, and is closed; nil: there is none.
	IDFile *os.File

	kept bool
}

// idBytes is the length of an ID: 48 bits, of which one million containers have
// two alike with a chance of 1 in 500; mkdir refuses the second.
const idBytes = 6

// create makes a container's folder, of which the caller gets the lock, and
// reserves its name, which is made up if there is none.
func (s *Store) create(o *Options) (id string, lock *os.File, err error) {
	id, lock, err = s.makeDir()
	if err == nil {
		err = s.reserveFor(id, o)
	}
	if err != nil {
		return "", nil, errors.Join(err, s.discard(id, lock))
	}
	return id, lock, nil
}

func (s *Store) reserveFor(id string, o *Options) error {
	for o.Name == "" {
		name := randomName()
		err := s.reserve(name, id)
		if errors.Is(err, errTaken) {
			continue
		}
		o.Name = name
		return err
	}
	err := s.reserve(o.Name, id)
	if errors.Is(err, errTaken) && s.Sweep() == nil { // by a leftover perhaps
		err = s.reserve(o.Name, id)
	}
	return err
}

// makeDir makes a container's folder and takes its lock.
func (s *Store) makeDir() (id string, lock *os.File, err error) {
	for {
		id = fmt.Sprintf("%0*x", 2*idBytes, rand.Uint64()>>(64-8*idBytes))
		dir := s.path(containersDir, id)
		if err := os.Mkdir(dir, 0o700); errors.Is(err, os.ErrExist) {
			continue
		} else if err != nil {
			return "", nil, explain(err)
		}
		lock, err = lockDir(dir, false)
		if errors.Is(err, errBusy) || errors.Is(err, os.ErrNotExist) {
			continue // swept away before it was locked
		}
		return id, lock, err
	}
}

// discard removes a container whose lock the caller has, and gives that back.
func (s *Store) discard(id string, lock *os.File) error {
	if lock == nil {
		return nil
	}
	return errors.Join(s.remove(id), lock.Close())
}

// fill puts the disks and config.json into a container's folder.
func (s *Store) fill(id string, o Options) (*Container, error) {
	c := &Container{dir: s.path(containersDir, id), Config: o.config(id)}
	if err := link(o.RootDisk, filepath.Join(c.dir, imageFile)); err != nil {
		return nil, err
	}
	if !o.ReadOnly {
		if err := s.blanks().Make(filepath.Join(c.dir, layerFile), o.LayerSize, "upper", "work"); err != nil { // as guestinit mounts them
			return nil, fmt.Errorf("make the writable layer: %w", explain(err))
		}
	}
	if err := s.takeDisks(c.dir, o.Mounts); err != nil {
		return nil, err
	}
	if err := o.writeID(id); err != nil {
		return nil, err
	}
	c.Status = Created
	return c, writeJSON(filepath.Join(c.dir, configFile), c.Config, volatile)
}

// link takes an image's root disk.
func link(disk, path string) error {
	if err := os.Link(disk, path); err != nil {
		return fmt.Errorf("take the image's root disk: %w", explain(err))
	}
	return nil
}

func (o Options) writeID(id string) error {
	if o.IDFile == nil {
		return nil
	}
	_, err := o.IDFile.WriteString(id)
	return explain(errors.Join(err, o.IDFile.Close()))
}

// config is the whole of what a container will be.
func (o Options) config(id string) Config {
	hostname := o.Hostname
	if hostname == "" {
		hostname = id
	}
	process := o.Process
	if indexEnv(process.Env, "HOSTNAME") < 0 {
		process.Env = append(process.Env[:len(process.Env):len(process.Env)], "HOSTNAME="+hostname)
	}
	network := o.Network
	if network.MAC == (hostnet.MAC{}) {
		network.MAC = macOf(id)
	}
	c := proto.Container{
		ID: id, Hostname: hostname, Tmpfs: o.Tmpfs,
		Limits: proto.Limits{CPUMicros: o.CPUs.bound(), PIDs: o.PIDs}, Unmasked: o.Unmasked, ShmSize: o.ShmSize, Sysctls: o.Sysctls,
		Addr: network.Addr.Addr(), Hosts: network.Hosts, Resolver: network.Resolver(),
	}
	disks := o.planDisks(&c)
	return Config{
		ID: id, Name: o.Name, Created: time.Now().UTC(), Image: o.Image, Remove: o.Remove,
		Labels: o.Labels, StopSignal: o.StopSignal, StopPatience: o.StopPatience, OwnKernel: o.OwnKernel, Kept: o.kept,
		Network: network, Mounts: o.Mounts,
		Spec: control.Spec{
			VM: vmm.Config{
				Kernel: o.Kernel, MapKernel: !o.OwnKernel, Args: o.KernelArgs, Initrd: o.Initrd, PVM: o.PVM, VCPUs: o.CPUs.VCPUs(), Memory: o.Memory,
				Disks: disks, NICs: nics(id, network, o.Limits), Vsock: vsockFile, Verbose: o.Console,
			},
			Interface: network.Interface(),
			Container: c,
			Process:   process,
			Console:   o.Console,
			Log:       o.Log,
			Restart:   o.Restart,
		},
	}
}

// persist makes a container that stays survive a loss of power.
func (c *Container) persist() error {
	if c.Remove {
		return nil
	}
	for _, path := range []string{filepath.Join(c.dir, configFile), c.dir, filepath.Dir(c.dir)} {
		if err := folder.Sync(path); err != nil {
			return err
		}
	}
	return nil
}
