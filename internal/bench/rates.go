package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/mvm-project/mvm/internal/container"
	"github.com/mvm-project/mvm/internal/control"
	"github.com/mvm-project/mvm/ratelimit"
)

// rate is a limit that is set, and what passed while a container wanted more.
type rate struct {
	Flag     string
	Set      float64 // a second
	Measured float64
}

// demand is how a container is made to want more than a limit lets through.
type demand struct {
	flag   string
	set    int
	script string // in the guest; HOST has ports SINK and SOURCE, of this program
	count  func(control.Traffic) uint64
}

// demands are for rates that an emulated host can pass too.
func demands() []demand {
	const (
		read    = "dd if=/dev/vda of=/dev/null bs=1048576"
		send    = "netcat $HOST $SINK </dev/zero"
		receive = "netcat $HOST $SOURCE >/dev/null"
	)
	ops := func(s ratelimit.Stats) uint64 { return s.Ops }
	bytes := func(s ratelimit.Stats) uint64 { return s.Bytes }
	return []demand{
		{"--disk-iops", 40, read, func(t control.Traffic) uint64 { return ops(t.Disk) }},
		{"--disk-bps", 1 << 20, read, func(t control.Traffic) uint64 { return bytes(t.Disk) }},
		{"--net-tx-pps", 20, send, func(t control.Traffic) uint64 { return ops(t.TX) }},
		{"--net-tx-bps", 128 << 10, send, func(t control.Traffic) uint64 { return bytes(t.TX) }},
		{"--net-rx-pps", 40, receive, func(t control.Traffic) uint64 { return ops(t.RX) }},
		{"--net-rx-bps", 128 << 10, receive, func(t control.Traffic) uint64 { return bytes(t.RX) }},
	}
}

const (
	// warmUp is how long a container may take to want more, and the bucket, which
	// starts full, to be empty; window is what is measured.
	warmUp = 5 * time.Second
	window = 10 * time.Second
)

// measureRates takes each demand once, one after the other.
func measureRates(o options) ([]rate, error) {
	disk := filepath.Join(o.Root, "bench-disk")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		return nil, err
	}
	if err := os.Truncate(disk, 1<<40); err != nil { // a hole, longer than anybody reads
		return nil, err
	}
	sink, err := serve(func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	if err != nil {
		return nil, err
	}
	defer sink.Close()
	source, err := serve(func(c net.Conn) { _, _ = io.Copy(c, zeros{}) })
	if err != nil {
		return nil, err
	}
	defer source.Close()
	ports := []string{"-e", "SINK=" + portOf(sink), "-e", "SOURCE=" + portOf(source)}
	var rates []rate
	for _, d := range demands() {
		measured, err := o.measureRate(d, disk, ports)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.flag, err)
		}
		rates = append(rates, rate{d.flag, float64(d.set), measured})
	}
	return rates, nil
}

// serve has talk talk to whoever connects, until the listener is closed; a talk ends
// with its connection.
func serve(talk func(net.Conn)) (net.Listener, error) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() { // ends with the listener
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				talk(c)
			}()
		}
	}()
	return ln, nil
}

func portOf(ln net.Listener) string { return strconv.Itoa(ln.Addr().(*net.TCPAddr).Port) }

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// measureRate runs a container under one limit, and returns what passed in a second
// of the window.
func (o options) measureRate(d demand, disk string, ports []string) (float64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), hung)
	defer cancel()
	const name = "bench-rate"
	args := append([]string{"run", "-d", "--rm", "--read-only", "--name", name, "--disk", disk + ":ro", "--add-host", "host:host-gateway", "-e", "HOST=192.168.127.1"}, ports...)
	if _, err := o.cli(ctx, append(args, d.flag, strconv.Itoa(d.set), "u-root", "sh", "-c", d.script)...); err != nil {
		return 0, err
	}
	passed, err := o.watch(ctx, name, d.count)
	_, rmErr := o.cli(ctx, "rm", "-f", name)
	return passed, errors.Join(err, rmErr)
}

// watch measures a container from warmUp on.
func (o options) watch(ctx context.Context, name string, count func(control.Traffic) uint64) (float64, error) {
	s, err := container.Open(o.Root, nil) // nothing is started
	if err != nil {
		return 0, err
	}
	c, err := s.Find(name)
	if err != nil {
		return 0, err
	}
	time.Sleep(warmUp)
	before, began, err := look(ctx, &c, count)
	if err != nil {
		return 0, err
	}
	time.Sleep(window)
	after, ended, err := look(ctx, &c, count)
	return float64(after-before) / ended.Sub(began).Seconds(), err
}

// look asks what has passed; it was so in the middle of the question.
func look(ctx context.Context, c *container.Container, count func(control.Traffic) uint64) (uint64, time.Time, error) {
	asked := time.Now()
	t, err := c.Traffic(ctx)
	return count(t), asked.Add(time.Since(asked) / 2), err
}

// printRates writes a table.
func printRates(w io.Writer, rates []rate) {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "set\tmeasured\toff by\t  limit, a second, over 10 s of steady demand")
	for _, r := range rates {
		fmt.Fprintf(t, "%.0f\t%.1f\t%+.2f %%\t  %s\n", r.Set, r.Measured, 100*(r.Measured/r.Set-1), r.Flag)
	}
	_ = t.Flush()
}
