// Command vh runs a shell script on the virtual KVM host, for those who have no
// other.
//
//	vh [-timeout 10m] [-f name=path]... [-p program]... 'script'
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/mvm-project/mvm/e2e/vhost"
)

// exitFailed is the status when it was the host that failed, not the script.
const exitFailed = 125

func main() {
	files := map[string]string{}
	timeout := flag.Duration("timeout", 10*time.Minute, "how long the script may take")
	flag.Func("f", "give the script a file or a folder: name=path (repeatable)", func(s string) error {
		name, path, ok := strings.Cut(s, "=")
		if !ok {
			name, path = filepath.Base(s), s
		}
		files[name] = path
		return nil
	})
	var programs []string
	flag.Func("p", "give the script a program of this machine with its libraries: its path (repeatable)", func(s string) error {
		programs = append(programs, s)
		return nil
	})
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	status, err := run(ctx, vhost.Job{
		Files: files, Programs: programs, Script: strings.Join(flag.Args(), " "), Stdout: os.Stdout, Stderr: os.Stderr,
	})
	cancel()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "vh:", err)
		os.Exit(exitFailed)
	}
	os.Exit(status)
}

func run(ctx context.Context, job vhost.Job) (int, error) {
	cache, err := vhost.CacheDir()
	if err != nil {
		return 0, err
	}
	h, err := vhost.Prepare(ctx, cache)
	if err != nil {
		return 0, err
	}
	return h.Run(ctx, job)
}
