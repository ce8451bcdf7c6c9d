package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/spf13/pflag"

	"github.com/mvm-project/mvm/internal/container"
	"github.com/mvm-project/mvm/internal/control"
	"github.com/mvm-project/mvm/internal/logfile"
	"github.com/mvm-project/mvm/ratelimit"
)

// lifeFlags are run's and create's that are about a container's life, as they
// were given.
type lifeFlags struct {
	detach                      bool
	restart, stopSignal, driver string
	cidFile                     string
	stopTimeout                 int
	labels, logOpts             []string
}

func (f *lifeFlags) register(fs *pflag.FlagSet) {
	fs.StringVar(&f.restart, "restart", "no", "restart it when it has ended, by `POLICY`: no, on-failure[:MAX], always or unless-stopped")
	fs.StringVar(&f.stopSignal, "stop-signal", "", "the `SIGNAL` that mvm stop sends (default the image's, else SIGTERM)")
	fs.IntVar(&f.stopTimeout, "stop-timeout", 10, "`SECONDS` that mvm stop waits before it kills; -1 is for ever")
	fs.StringArrayVarP(&f.labels, "label", "l", nil, "give it a `LABEL`: NAME[=VALUE]")
	fs.StringVar(&f.cidFile, "cidfile", "", "write its ID to this `FILE`, which must not be there yet")
	fs.StringVar(&f.driver, "log-driver", "local", "where its output is kept: `local` or none")
	fs.StringArrayVar(&f.logOpts, "log-opt", nil, "bound its log: max-size=`SIZE` of a file (default 10m), max-file=NUMBER of files (default 3), max-rate=RATE[:BURST] a second (default 32m:256m)")
}

// parse checks the flags and adds them to what describes a container.
func (f *lifeFlags) parse(o *container.Options, foreground bool) error {
	var err error
	if o.Restart, err = parseRestart(f.restart); err != nil {
		return fmt.Errorf("--restart: %w", err)
	}
	restarts := o.Restart != control.Restart{}
	switch {
	case restarts && o.Remove:
		return errors.New("--restart and --rm contradict each other: take one")
	case restarts && foreground:
		return errors.New("--restart needs -d: a container in the foreground ends with its command")
	}
	sig, err := parseSignal(f.stopSignal)
	if err != nil {
		return fmt.Errorf("--stop-signal: %w", err)
	}
	o.StopSignal, o.StopPatience = int(sig), stopPatience(f.stopTimeout)
	if o.Labels, err = parseLabels(f.labels); err != nil {
		return fmt.Errorf("--label: %w", err)
	}
	o.Log, err = parseLog(f.driver, f.logOpts)
	if o.Remove && foreground {
		o.Log = nil // who sees it now will not ask again
	}
	return err
}

func parseRestart(s string) (control.Restart, error) {
	policy, max, counted := strings.Cut(s, ":")
	r := control.Restart{}
	switch policy {
	case "", "no":
	case "always", "unless-stopped": // no daemon starts it again after a reboot, so they are one
		r.Always = true
	case "on-failure":
		r.Failures = true
	default:
		return r, fmt.Errorf("bad policy %q: want no, on-failure[:MAX], always or unless-stopped", s)
	}
	if !counted {
		return r, nil
	}
	n, err := strconv.Atoi(max)
	if err != nil || n < 0 || !r.Failures {
		return r, fmt.Errorf("bad policy %q: only on-failure takes a number, from 0 on", s)
	}
	r.Max = n
	return r, nil
}

func parseLabels(labels []string) (map[string]string, error) {
	if len(labels) == 0 {
		return nil, nil
	}
	m := map[string]string{}
	for _, l := range labels {
		name, value, _ := strings.Cut(l, "=")
		if name == "" {
			return nil, fmt.Errorf("bad label %q: want NAME or NAME=VALUE", l)
		}
		m[name] = value
	}
	return m, nil
}

func parseLog(driver string, opts []string) (*logfile.Limits, error) {
	switch driver {
	case "none":
		return nil, nil
	case "local", "json-file":
	default:
		return nil, fmt.Errorf("--log-driver: no driver %q: want local or none", driver)
	}
	l := logfile.DefaultLimits()
	for _, opt := range opts {
		name, value, _ := strings.Cut(opt, "=")
		var err error
		switch name {
		case "max-size":
			l.MaxSize, err = units.RAMInBytes(value)
			if err == nil && l.MaxSize < logfile.MinSize {
				err = fmt.Errorf("want at least %d bytes", logfile.MinSize)
			}
		case "max-file":
			l.MaxFiles, err = strconv.Atoi(value)
			if err == nil && (l.MaxFiles < 1 || l.MaxFiles > logfile.MostFiles) {
				err = fmt.Errorf("want 1 to %d files", logfile.MostFiles)
			}
		case "max-rate":
			var b ratelimit.Bucket
			b, err = parseRate(value)
			l.Rate = &b
		default:
			err = errors.New("want max-size, max-file or max-rate")
		}
		if err != nil {
			return nil, fmt.Errorf("--log-opt %s: %w", opt, err)
		}
	}
	return &l, nil
}

// openCIDFile makes the file for the container's ID; it is nil if none is wanted.
func (f *lifeFlags) openCIDFile() (*os.File, error) {
	if f.cidFile == "" {
		return nil, nil
	}
	file, err := os.OpenFile(f.cidFile, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("--cidfile: %s is there already: remove it, or name another", f.cidFile)
	}
	if err != nil {
		return nil, fmt.Errorf("--cidfile: %w", err)
	}
	return file, nil
}
