package e2e

import (
	"archive/tar"
	"context"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// postgresPrograms is where Debian 12 has them: what is in PATH is a Perl script.
const postgresPrograms = "/usr/lib/postgresql/15/bin"

// postgresData is its database's folder, which the image has, empty and the
// user's own: a new volume there is too.
const postgresData = "/var/lib/postgresql/data"

// startPostgres makes a database where there is none, and serves it.
const startPostgres = `set -e
test -s PG_VERSION || initdb --data-checksums --locale=C --encoding=UTF8 --no-instructions
echo 'host all all all trust' >pg_hba.conf
exec postgres -h '*' -k '' -c shared_buffers=16MB -c max_connections=10
`

// postgresConfig is the image's: it runs as its own user, and the signal to stop
// ends it without waiting for its clients.
func postgresConfig() v1.Config {
	return v1.Config{
		User: "postgres", WorkingDir: postgresData, StopSignal: "SIGINT",
		Cmd: []string{"sh", "/start"}, Env: []string{"PATH=" + postgresPrograms + ":/usr/bin:/bin", "PGDATA=" + postgresData},
	}
}

// postgresLayers are Debian's server, and its user, folder and script.
func postgresLayers(ctx context.Context, t *testing.T) [][]byte {
	t.Helper()
	site := pack(t, []entry{
		{tar.Header{Name: "etc/passwd", Mode: 0o644}, "postgres:x:999:999::/var/lib/postgresql:/bin/sh\n"},
		{tar.Header{Name: "etc/group", Mode: 0o644}, "postgres:x:999:\n"},
		{tar.Header{Name: "start", Mode: 0o644}, startPostgres},
		{tar.Header{Name: postgresData[1:] + "/", Typeflag: tar.TypeDir, Mode: 0o700, Uid: 999, Gid: 999}, ""},
	})
	return [][]byte{debian(ctx, t, "postgresql-15,dash,coreutils"), site}
}
