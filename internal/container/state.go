package container

import (
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/mvm-project/mvm/internal/control"
	"github.com/mvm-project/mvm/internal/folder"
	"github.com/mvm-project/mvm/internal/hostnet"
)

// Config is what a container is, from its making on.
type Config struct {
	ID string // 12 hexadecimal digits
	// Name is the user's name for it; empty if there is none.
	Name    string `json:",omitempty"`
	Created time.Time
	// Image is its image as the user named it.
	Image string
	// Remove says that it goes when its process has ended.
	Remove bool `json:",omitempty"`
	// Spec is what its mvm-vmm is told; paths are relative to its folder.
	Spec control.Spec
	// Network is how it is connected.
	Network hostnet.Network `json:",omitzero"`
	// Mounts are volumes and images that it has mounted.
	Mounts []Mount `json:",omitempty"`
	// Labels are the user's, and the image's.
	Labels map[string]string `json:",omitempty"`
	// StopSignal is what stop sends, 0 being SIGTERM, and StopPatience how long it
	// waits before it kills.
	StopSignal   int           `json:",omitempty"`
	StopPatience time.Duration `json:",omitempty"`
	// OwnKernel says that the user gave the kernel.
	OwnKernel bool `json:",omitempty"`
	// Kept says that it was made to stay, by create, though it never ran.
	Kept bool `json:",omitempty"`
}

// Status is where a container is in its life.
type Status string

// The statuses of a container.
const (
	Created Status = "created" // made, never run
	Running Status = "running"
	Paused  Status = "paused"  // it runs, frozen
	Exited  Status = "exited"  // its process ended, as Exit tells
	Lost    Status = "lost"    // the microVM, or the mvm command, was killed
	Damaged Status = "damaged" // its config.json cannot be read
)

// State is what became of a container.
type State struct {
	Status Status
	// VMM is its mvm-vmm process, once there was one.
	VMM      Process      `json:",omitzero"`
	Started  time.Time    `json:",omitzero"`
	Finished time.Time    `json:",omitzero"`
	Exit     control.Exit `json:",omitzero"`
	// Restarts is how often it was started again by itself.
	Restarts int `json:",omitempty"`
}

// Up says whether its process is there.
func (s State) Up() bool { return s.Status == Running || s.Status == Paused }

// Files of a container's folder.
const (
	configFile = "config.json"
	stateFile  = "state.json"
	imageFile  = "image"
	layerFile  = "layer"
	vsockFile  = "vsock"
	// LogFile is what it printed (internal/logfile).
	LogFile = "log"
)

// Container is a container on disk.
type Container struct {
	Config
	State
	dir     string
	visited bool // its microVM runs for a Visit
}

// read reads a container's folder. It is running only if its process is.
func read(dir string) (Container, error) {
	c := Container{dir: dir}
	if err := folder.ReadJSON(filepath.Join(dir, configFile), &c.Config); err != nil {
		return Container{}, err
	}
	err := folder.ReadJSON(filepath.Join(dir, stateFile), &c.State)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.State = State{Status: Created}
	case err != nil: // written without fsync before a loss of power
		c.State = State{Status: Lost}
	case c.Up() && !c.VMM.Alive():
		c.Status = Lost
	}
	return c, nil
}

// setState replaces state.json. Only the end of a container that stays is worth
// an fsync: what ran before a loss of power does not run after it.
func (c *Container) setState(s State) error {
	d := volatile
	if s.Status == Exited && !c.Remove {
		d = durable
	}
	c.State = s
	return writeJSON(filepath.Join(c.dir, stateFile), s, d)
}
