package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// noise is what a container gets while it has a neighbour of some kind.
type noise struct {
	Neighbour string
	Disk, Net service
}

// service is how one that is asked by one answers.
type service struct {
	Rate float64 // answers a second
	P99  float64 // ms
}

const (
	noiseImage = "mvm-bench"
	noiseTime  = 8 // seconds of each measurement
	noiseDisk  = 128 << 20
	echoPort   = "7"
	hostPort   = "PORT" // in a script: where the host takes and sends what goes
)

// limits are the neighbour's, where it has some: so few that an emulated host, which passes some 25 frames of 64 KiB a
// second, has little to do for it.
func limits() []string {
	return []string{"--disk-iops", "5", "--net-tx-pps", "2", "--net-rx-pps", "2"}
}

// hammer is what the neighbour does, for ever: its disk, and the network.
const hammer = "while :; do busybox nc 192.168.127.1 " + hostPort + " </dev/zero >/dev/null; done & " +
	"exec fio --name=j --filename=/dev/vda --direct=1 --ioengine=libaio --rw=randrw --bs=64k --iodepth=32 --time_based --runtime=3600"

// measureNoise measures a container alone, beside one that hammers, and beside the
// same within limits; o.Rounds times in turns, of which medians are taken.
func measureNoise(o options) ([]noise, error) {
	if err := o.loadTools(); err != nil {
		return nil, err
	}
	both, err := serve(func(c net.Conn) {
		go func() { _, _ = io.Copy(io.Discard, c) }() // ends with c
		_, _ = io.Copy(c, zeros{})
	})
	if err != nil {
		return nil, err
	}
	defer both.Close()
	kinds := []struct {
		name      string
		neighbour []string
	}{
		{"alone", nil},
		{"beside one without limits", []string{}},
		{"beside one with limits", limits()},
	}
	samples := make([][]noise, len(kinds))
	for range o.Rounds {
		for i, k := range kinds {
			n, err := o.beside(k.neighbour, strings.ReplaceAll(hammer, hostPort, portOf(both)))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", k.name, err)
			}
			n.Neighbour = k.name
			samples[i] = append(samples[i], n)
		}
	}
	var result []noise
	for _, s := range samples {
		result = append(result, middle(s))
	}
	return result, nil
}

// middle takes the median of each figure.
func middle(samples []noise) noise {
	of := func(get func(noise) float64) float64 {
		var s series
		for _, n := range samples {
			s.Samples = append(s.Samples, get(n))
		}
		return s.median()
	}
	return noise{
		Neighbour: samples[0].Neighbour,
		Disk:      service{of(func(n noise) float64 { return n.Disk.Rate }), of(func(n noise) float64 { return n.Disk.P99 })},
		Net:       service{of(func(n noise) float64 { return n.Net.Rate }), of(func(n noise) float64 { return n.Net.P99 })},
	}
}

// loadTools makes an image of the programs that are run in containers.
func (o options) loadTools() error {
	path, archive := filepath.Join(o.Root, "tools.tar"), filepath.Join(o.Root, "tools-image.tar")
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := errors.Join(o.tree(f, []string{"busybox", "fio"}, nil), f.Close()); err != nil {
		return err
	}
	layer, err := tarball.LayerFromFile(path)
	if err != nil {
		return err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return err
	}
	config.OS, config.Architecture = "linux", "amd64"
	config.Config.Env = []string{"PATH=/bin", "LD_LIBRARY_PATH=/" + libraries}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return err
	}
	tag, err := name.NewTag(noiseImage)
	if err != nil {
		return err
	}
	if err := tarball.WriteToFile(archive, tag, image); err != nil {
		return err
	}
	_, err = o.cli(context.Background(), "load", "-i", archive)
	return errors.Join(err, os.Remove(archive), os.Remove(path))
}

// cli runs mvm.
func (o options) cli(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, filepath.Join(o.Bin, "mvm"), args...).Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	if err != nil {
		return "", fmt.Errorf("mvm %s: %w", args[0], err)
	}
	return string(out), nil
}

// beside measures with a neighbour of these limits, which does what script says;
// nil: with none.
func (o options) beside(limits []string, script string) (n noise, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*hung)
	defer cancel()
	disk := filepath.Join(o.Root, "victim-disk")
	if err := os.WriteFile(disk, make([]byte, noiseDisk), 0o600); err != nil {
		return n, err
	}
	if limits != nil {
		const neighbour = "neighbour"
		its := filepath.Join(o.Root, "neighbour-disk")
		if err := os.WriteFile(its, make([]byte, noiseDisk), 0o600); err != nil {
			return n, err
		}
		args := append([]string{"run", "-d", "--rm", "--name", neighbour, "--disk", its, "--add-host", "host:host-gateway"}, limits...)
		if _, err := o.cli(ctx, append(args, noiseImage, "busybox", "sh", "-c", script)...); err != nil {
			return n, err
		}
		defer func() {
			_, e := o.cli(ctx, "rm", "-f", neighbour)
			err = errors.Join(err, e)
		}()
	}
	if n.Disk, err = o.diskService(ctx, disk); err != nil {
		return n, err
	}
	n.Net, err = o.netService(ctx)
	return n, err
}

// diskService reads 4 KiB at random, one after the other.
func (o options) diskService(ctx context.Context, disk string) (service, error) {
	out, err := o.cli(ctx, "run", "--rm", "--network", "none", "--disk", disk, noiseImage, "fio", "--name=j", "--filename=/dev/vda", "--direct=1",
		"--rw=randread", "--bs=4k", "--time_based", fmt.Sprintf("--runtime=%d", noiseTime), "--output-format=terse", "--terse-version=3")
	if err != nil {
		return service{}, err
	}
	rate, err := terse(readOps, 1)(out)
	if err != nil {
		return service{}, err
	}
	_, after, found := strings.Cut(out, ";99.000000%=") // of reads, in microseconds
	p99, parseErr := strconv.ParseFloat(strings.SplitN(after, ";", 2)[0], 64)
	if !found || parseErr != nil {
		return service{}, fmt.Errorf("fio printed no percentile: %q", out)
	}
	return service{rate, p99 / 1000}, nil
}

// netService sends a byte through a published port and waits for it to come back,
// again and again.
func (o options) netService(ctx context.Context) (s service, err error) {
	const echo = "echo"
	port, err := freePort()
	if err != nil {
		return s, err
	}
	addr := net.JoinHostPort("127.0.0.1", port)
	if _, err := o.cli(ctx, "run", "-d", "--rm", "--name", echo, "-p", addr+":"+echoPort,
		noiseImage, "busybox", "nc", "-ll", "-p", echoPort, "-e", "/bin/busybox", "cat"); err != nil {
		return s, err
	}
	defer func() {
		_, e := o.cli(ctx, "rm", "-f", echo)
		err = errors.Join(err, e)
	}()
	conn, err := dialEcho(addr)
	if err != nil {
		return s, err
	}
	defer func() { _ = conn.Close() }()
	var took []float64
	b := []byte{1}
	for begun := time.Now(); time.Since(begun) < noiseTime*time.Second; {
		sent := time.Now()
		if _, err := conn.Write(b); err != nil {
			return s, err
		}
		if _, err := io.ReadFull(conn, b); err != nil {
			return s, err
		}
		took = append(took, time.Since(sent).Seconds()*1000)
	}
	slices.Sort(took)
	return service{float64(len(took)) / noiseTime, took[len(took)*99/100]}, nil
}

func freePort() (string, error) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(ln.Addr().String())
	return port, errors.Join(err, ln.Close())
}

// dialEcho connects as soon as the server answers: mvm listens before it does.
func dialEcho(addr string) (net.Conn, error) {
	for begun := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		conn, err := net.Dial("tcp4", addr)
		if err == nil {
			b := []byte{1}
			_, err = conn.Write(b)
			if err == nil {
				_, err = io.ReadFull(conn, b)
			}
			if err == nil {
				return conn, nil
			}
			_ = conn.Close()
		}
		if time.Since(begun) > hung {
			return nil, fmt.Errorf("the echo does not answer: %w", err)
		}
	}
}

// printNoise writes a table.
func printNoise(w io.Writer, all []noise) {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "disk reads a second\tp99\tround trips a second\tp99\t  a container")
	for _, n := range all {
		fmt.Fprintf(t, "%.0f\t%.1f ms\t%.0f\t%.1f ms\t  %s\n", n.Disk.Rate, n.Disk.P99, n.Net.Rate, n.Net.P99, n.Neighbour)
	}
	_ = t.Flush()
}
