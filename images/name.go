package images

import (
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

const (
	hubHost = "docker.io/"
	hubLib  = "docker.io/library/"
	ggcrHub = "index.docker.io/"
)

// parseName reads an image reference with docker's defaults.
func parseName(ref string, opts ...name.Option) (name.Reference, error) {
	r, err := name.ParseReference(ref, opts...)
	if err != nil {
		return nil, fmt.Errorf("bad image reference %q: want [HOST[:PORT]/]NAME[:TAG] or NAME@sha256:HEX, in lower case: %w", ref, err)
	}
	return r, nil
}

// canonical is a reference's full name: "docker.io/library/alpine:latest".
func canonical(r name.Reference) string {
	full := r.Name()
	if rest, ok := strings.CutPrefix(full, ggcrHub); ok {
		return hubHost + rest
	}
	return full
}

// familiar is the short form of a canonical name.
func familiar(full string) string {
	if rest, ok := strings.CutPrefix(full, hubLib); ok {
		return rest
	}
	return strings.TrimPrefix(full, hubHost)
}

// repository is a canonical name without its tag or digest.
func repository(full string) string {
	if repo, _, ok := strings.Cut(full, "@"); ok {
		return repo
	}
	if i := strings.LastIndexByte(full, ':'); i > strings.LastIndexByte(full, '/') {
		return full[:i]
	}
	return full
}
