package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/mvm-project/mvm/internal/container"
)

// psFilter is docker's ps --filter: containers that match one value of each key.
type psFilter map[string][]string

// parsePsFilter reads KEY=VALUE each.
func parsePsFilter(filters []string) (psFilter, error) {
	f := psFilter{}
	for _, s := range filters {
		key, value, ok := strings.Cut(s, "=")
		switch key {
		case "name", "id", "status", "label", "ancestor", "exited":
		default:
			ok = false
		}
		if !ok {
			return nil, fmt.Errorf("--filter: bad filter %q: want name=, id=, status=, label=, ancestor= or exited=", s)
		}
		if key == "exited" {
			if _, err := strconv.Atoi(value); err != nil {
				return nil, fmt.Errorf("--filter: exited=%s is no exit status", value)
			}
		}
		f[key] = append(f[key], value)
	}
	return f, nil
}

func (f psFilter) match(c container.Container) bool {
	for key, values := range f {
		any := false
		for _, v := range values {
			any = any || matchOne(c, key, v)
		}
		if !any {
			return false
		}
	}
	return true
}

func matchOne(c container.Container, key, value string) bool {
	switch key {
	case "name":
		return strings.Contains(c.Name, value)
	case "id":
		return strings.HasPrefix(c.ID, value)
	case "status":
		return string(c.Status) == value
	case "ancestor":
		return c.Image == value
	case "exited":
		return c.Status == container.Exited && strconv.Itoa(c.Exit.Code) == value
	}
	name, want, valued := strings.Cut(value, "=")
	have, ok := c.Labels[name]
	return ok && (!valued || have == want)
}
