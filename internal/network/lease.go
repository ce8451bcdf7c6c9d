package network

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/mvm-project/mvm/internal/folder"
)

// Join puts a container on a network: its lease is on disk, and the host has what
// it stands for, or neither.
func (s *Store) Join(w Want) (Network, Lease, error) {
	if err := s.Check(w.Network); err != nil {
		return Network{}, Lease{}, err
	}
	var u Used
	err := s.locked(func() (err error) {
		u, err = s.join(w)
		return err
	})
	if err != nil {
		return Network{}, Lease{}, err
	}
	return u.Network, u.Leases[len(u.Leases)-1], nil
}

// join returns the network with the new lease as its last. It needs the lock.
func (s *Store) join(w Want) (Used, error) {
	if err := s.ensureDefault(); err != nil {
		return Used{}, err
	}
	left := s.garbage()
	if s.leased(w.Container) != "" {
		left = append(left, w.Container) // of an earlier run
	}
	if err := s.remove(left...); err != nil {
		return Used{}, err
	}
	all, err := s.read()
	if err != nil {
		return Used{}, err
	}
	u, err := find(all, w.Network)
	if err != nil {
		return Used{}, err
	}
	if u.Internal && len(w.Ports) > 0 {
		return Used{}, fmt.Errorf("the network %s is internal: nothing can be published from it", u.Name)
	}
	if u.Network, err = s.still(u, all); err != nil {
		return Used{}, err
	}
	l, err := u.allocate(w)
	if err != nil {
		return Used{}, err
	}
	u.Leases = append(slices.Clone(u.Leases), l)
	path := s.path(u.Name, leasesDir, l.Container)
	if err := write(path, l); err != nil {
		return Used{}, err
	}
	for i := range all {
		if all[i].Name == u.Name {
			all[i] = u
		}
	}
	if err := s.host.Apply(all); err != nil {
		return Used{}, errors.Join(err, s.remove(l.Container))
	}
	return u, nil
}

// still checks that the subnet of a network that nobody is on is still nobody
// else's: the host's routes may have changed. The default one takes another.
func (s *Store) still(u Used, all []Used) (Network, error) {
	if len(u.Leases) > 0 {
		return u.Network, nil
	}
	n, err := s.settle(u.Network, all)
	if err == nil || u.Name != Default {
		return n, err
	}
	n = u.Network
	n.Subnet, n.Gateway = netip.Prefix{}, netip.Addr{}
	if n, err = s.settle(n, all); err != nil {
		return n, err
	}
	return n, write(s.path(n.Name, infoFile), n)
}

// Leave takes a container off its network, if it is on one.
func (s *Store) Leave(id string) error {
	if s.leased(id) == "" {
		return nil
	}
	return s.locked(func() error { return s.remove(id) })
}

// Tidy takes containers off their networks that do not run.
func (s *Store) Tidy() error {
	if len(s.garbage()) == 0 {
		return nil
	}
	return s.locked(func() error { return s.remove(s.garbage()...) })
}

// garbage are the containers with a lease that have no use for it.
func (s *Store) garbage() []string {
	leases, _ := filepath.Glob(s.path("*", leasesDir, "[0-9a-f]*")) // the pattern is a good one
	var left []string
	for _, path := range leases {
		if id := filepath.Base(path); !s.alive(id) {
			left = append(left, id)
		}
	}
	return left
}

// leased is the path of a container's lease; empty: it has none.
func (s *Store) leased(id string) string {
	if paths, _ := filepath.Glob(s.path("*", leasesDir, id)); len(paths) > 0 { // an ID is no pattern
		return paths[0]
	}
	return ""
}

// remove takes containers off their networks: on the host first. It needs the lock.
func (s *Store) remove(ids ...string) error {
	if len(ids) == 0 {
		return nil
	}
	all, err := s.read()
	if err != nil {
		return err
	}
	var gone []Lease
	for i := range all {
		all[i].Leases = slices.DeleteFunc(all[i].Leases, func(l Lease) bool {
			if !slices.Contains(ids, l.Container) {
				return false
			}
			gone = append(gone, l)
			return true
		})
	}
	if err := s.host.Apply(all); err != nil {
		return err
	}
	s.host.Forget(gone)
	for _, id := range ids {
		if path := s.leased(id); path != "" {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("take container %s off its network: %w", id, err)
			}
		}
	}
	return nil
}

// Lease returns a container's lease, and the network it is on; ok says whether
// there is one.
func (s *Store) Lease(id string) (n Network, l Lease, ok bool) {
	path := s.leased(id)
	if path == "" || folder.ReadJSON(path, &l) != nil {
		return n, l, false
	}
	err := folder.ReadJSON(filepath.Join(filepath.Dir(filepath.Dir(path)), infoFile), &n)
	return n, l, err == nil
}

// Rename gives a container another name on its network, if it is on one.
func (s *Store) Rename(id, name string) error {
	path := s.leased(id)
	if path == "" {
		return nil
	}
	return s.locked(func() error {
		var l Lease
		if err := folder.ReadJSON(path, &l); errors.Is(err, fs.ErrNotExist) {
			return nil // has just ended
		} else if err != nil {
			return err
		}
		l.Name = name
		return write(path, l)
	})
}
