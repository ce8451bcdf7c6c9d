package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mvm-project/mvm/internal/folder"
)

// Host is what networks are made of.
type Host interface {
	// Routes are those of the host, but for the default ones.
	Routes() ([]Route, error)
	// Has says whether there is an interface of that name.
	Has(device string) bool
	// Apply makes the host have the bridges of the networks with leases, and no
	// others of these; and rules for these leases, and no others.
	Apply([]Used) error
	// Forget makes the host forget the connections of leases that are gone.
	Forget([]Lease)
}

// Store is the folder of all networks. Its methods may be called by several
// goroutines and processes at once.
type Store struct {
	dir  string
	host Host
	// alive says whether a container has use for its lease.
	alive func(id string) bool
}

const (
	infoFile  = "network.json"
	leasesDir = "leases"
)

// Open opens the folder, which is made if it is missing.
func Open(dir string, host Host, alive func(id string) bool) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of networks: %w", err)
	}
	return &Store{dir, host, alive}, nil
}

// Leases is the folder of a network's leases, for whoever tells their names.
func (s *Store) Leases(name string) string { return s.path(name, leasesDir) }

// Create makes a network. What it does not say is chosen: Subnet, Gateway, Bridge;
// and Subnet6 if that is wanted.
func (s *Store) Create(n Network, ip6 bool) error {
	if err := CheckName(n.Name); err != nil {
		return err
	}
	if reserved(n.Name) {
		return fmt.Errorf("the network %s %w: choose another name", n.Name, ErrExists)
	}
	if ip6 && !n.Subnet6.IsValid() {
		n.Subnet6 = uniqueLocal()
	}
	return s.locked(func() error {
		if folder.Exists(s.path(n.Name)) {
			return fmt.Errorf("the network %s %w", n.Name, ErrExists)
		}
		all, err := s.read()
		if err != nil {
			return err
		}
		n.Bridge = randomBridge()
		if n, err = s.settle(n, all); err != nil {
			return err
		}
		return s.add(n)
	})
}

// settle chooses what the network does not say, and checks what it does.
func (s *Store) settle(n Network, all []Used) (Network, error) {
	routes, err := s.host.Routes()
	if err != nil {
		return n, err
	}
	if !n.Subnet.IsValid() {
		if n.Gateway.IsValid() || n.Range.IsValid() {
			return n, errors.New("a gateway or a range needs its subnet: give that with --subnet")
		}
		if n.Subnet, err = pick(n.Bridge, all, routes); err != nil {
			return n, err
		}
	}
	if !n.Gateway.IsValid() {
		n.Gateway = n.Subnet.Addr().Next()
	}
	if err := n.check(); err != nil {
		return n, err
	}
	if err := conflict(n.Subnet, n.Bridge, all, routes); err != nil {
		return n, err
	}
	if n.Subnet6.IsValid() {
		err = conflict(n.Subnet6, n.Bridge, all, routes)
	}
	return n, err
}

// add makes a network's folder, as a whole or not at all. It needs the lock.
func (s *Store) add(n Network) error {
	n.Created = time.Now().UTC()
	tmp, err := os.MkdirTemp(s.dir, folder.Unstable)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	if err := os.Mkdir(filepath.Join(tmp, leasesDir), 0o755); err != nil {
		return err
	}
	if err := write(filepath.Join(tmp, infoFile), n); err != nil {
		return err
	}
	if err := os.Rename(tmp, s.path(n.Name)); err != nil {
		return err
	}
	return folder.Sync(s.dir)
}

// List returns all networks by name, the default one among them, with who is on
// them.
func (s *Store) List() (all []Used, err error) {
	err = s.locked(func() error {
		if err := s.ensureDefault(); err != nil {
			return err
		}
		all, err = s.read()
		return err
	})
	return all, err
}

// Get returns the network of that name.
func (s *Store) Get(name string) (Used, error) {
	all, err := s.List()
	if err != nil {
		return Used{}, err
	}
	return find(all, name)
}

// Check says whether there is a network of that name.
func (s *Store) Check(name string) error {
	if name == Default || CheckName(name) == nil && folder.Exists(s.path(name)) {
		return nil
	}
	return unknown(name)
}

func unknown(name string) error {
	return fmt.Errorf("there is no network %q: see mvm network ls, or make it (mvm network create)", name)
}

func find(all []Used, name string) (Used, error) {
	i := slices.IndexFunc(all, func(u Used) bool { return u.Name == name })
	if i < 0 {
		return Used{}, unknown(name)
	}
	return all[i], nil
}

// ensureDefault makes the default network if it is missing. It needs the lock.
func (s *Store) ensureDefault() error {
	if folder.Exists(s.path(Default)) {
		return nil
	}
	all, err := s.read()
	if err != nil {
		return err
	}
	n, err := s.settle(Network{Name: Default, Bridge: s.defaultBridge()}, all)
	if err != nil {
		return err
	}
	return s.add(n)
}

// defaultBridge is the first of mvm0, mvm1 and so on that the host does not have:
// another folder of mvm's may have one.
func (s *Store) defaultBridge() string {
	for i := 0; ; i++ {
		if name := fmt.Sprintf("mvm%d", i); !s.host.Has(name) {
			return name
		}
	}
}

// read returns all networks by name. It needs the lock.
func (s *Store) read() ([]Used, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list networks: %w", err)
	}
	var all []Used
	for _, e := range entries {
		if CheckName(e.Name()) != nil {
			continue
		}
		u, err := s.readOne(e.Name())
		if err != nil {
			return nil, fmt.Errorf("the network %s is damaged: remove %s: %w", e.Name(), s.path(e.Name()), err)
		}
		all = append(all, u)
	}
	return all, nil
}

func (s *Store) readOne(name string) (u Used, err error) {
	if err := folder.ReadJSON(s.path(name, infoFile), &u.Network); err != nil {
		return u, err
	}
	if err := u.check(); err != nil {
		return u, err
	}
	u.Name = name
	u.Leases, err = ReadLeases(os.DirFS(s.Leases(name)))
	return u, err
}

// ReadLeases reads a folder of leases, in the order of their containers' IDs.
func ReadLeases(dir fs.FS) ([]Lease, error) {
	entries, err := fs.ReadDir(dir, ".")
	if err != nil {
		return nil, err
	}
	var list []Lease
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), folder.Unstable) {
			continue
		}
		text, err := fs.ReadFile(dir, e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // has just ended
		}
		var l Lease
		if err == nil {
			err = json.Unmarshal(text, &l)
		}
		if err != nil {
			return nil, err
		}
		list = append(list, l)
	}
	return list, nil
}

// Removable says whether there is a network of that name that somebody made.
func (s *Store) Removable(name string) error {
	if name == Default {
		return errors.New("the network bridge is always there: it cannot be removed")
	}
	return s.Check(name)
}

// Remove removes a network. One that containers are on stays, with ErrInUse.
func (s *Store) Remove(name string) error {
	if err := s.Removable(name); err != nil {
		return err
	}
	return s.locked(func() error {
		u, err := s.readOne(name)
		if errors.Is(err, fs.ErrNotExist) {
			return unknown(name)
		}
		if err != nil {
			return fmt.Errorf("remove the network %s: %w", name, err)
		}
		if len(u.Leases) > 0 {
			var names []string
			for _, l := range u.Leases {
				names = append(names, l.Name)
			}
			return fmt.Errorf("the network %s %w by container %s: end it first (mvm stop)", name, ErrInUse, strings.Join(names, ", "))
		}
		if err := folder.Remove(s.dir, name); err != nil {
			return fmt.Errorf("remove the network %s: %w", name, err)
		}
		return nil
	})
}

// locked runs f under the lock, after what killed processes left is cleared away.
func (s *Store) locked(f func() error) error {
	left := []string{folder.Unstable + "*", "*/" + folder.Unstable + "*", "*/" + leasesDir + "/" + folder.Unstable + "*"}
	return folder.FullDisk(folder.Locked(s.dir, left, f), "")
}

func (s *Store) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}
