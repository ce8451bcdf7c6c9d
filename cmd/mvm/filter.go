package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mvm-project/mvm/internal/container"
)

// filter is docker's --filter: what matches one value of each key.
type filter map[string][]string

// parseFilter reads KEY=VALUE each, of these keys.
func parseFilter(filters []string, keys ...string) (filter, error) {
	f := filter{}
	for _, s := range filters {
		key, value, ok := strings.Cut(s, "=")
		if !ok || !slices.Contains(keys, key) {
			return nil, fmt.Errorf("--filter: bad filter %q: want %s=", s, strings.Join(keys, "=, "))
		}
		f[key] = append(f[key], value)
	}
	return f, nil
}

// all says whether one value of each key matches.
func (f filter) all(matches func(key, value string) bool) bool {
	for key, values := range f {
		if !slices.ContainsFunc(values, func(value string) bool { return matches(key, value) }) {
			return false
		}
	}
	return true
}

// parsePsFilter reads ps's.
func parsePsFilter(filters []string) (filter, error) {
	f, err := parseFilter(filters, "name", "id", "status", "label", "ancestor", "exited", "network", "volume")
	for _, status := range f["status"] {
		if !slices.Contains(statuses(), container.Status(status)) {
			return nil, fmt.Errorf("--filter: status=%s: want one of %v", status, statuses())
		}
	}
	for _, status := range f["exited"] {
		if _, err := strconv.Atoi(status); err != nil {
			return nil, fmt.Errorf("--filter: exited=%s is no exit status", status)
		}
	}
	return f, err
}

func statuses() []container.Status {
	return []container.Status{container.Created, container.Running, container.Paused, container.Exited, container.Lost, container.Damaged}
}

func matchContainer(c container.Container, key, value string) bool {
	switch key {
	case "name":
		return strings.Contains(c.Name, value)
	case "id":
		return strings.HasPrefix(c.ID, value)
	case "status":
		return string(c.Status) == value
	case "ancestor":
		return c.Image == value
	case "network":
		return c.Network.String() == value
	case "volume":
		return slices.ContainsFunc(c.Mounts, func(m container.Mount) bool { return m.Source == value || m.Path == value })
	case "exited":
		return c.Status == container.Exited && strconv.Itoa(c.Exit.Code) == value
	}
	return hasLabel(c.Labels, value)
}

// hasLabel says whether there is a label NAME, or NAME=VALUE.
func hasLabel(labels map[string]string, label string) bool {
	name, want, valued := strings.Cut(label, "=")
	have, ok := labels[name]
	return ok && (!valued || have == want)
}
