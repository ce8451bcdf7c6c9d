package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/google/nftables"
	"github.com/rogpeppe/go-internal/testscript"
)

// patience is how long a server in a container may take to be there.
const patience = 2 * time.Minute

// fetchPage is fetch URL: it prints a page, as soon as there is a server.
func fetchPage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: fetch URL")
	}
	eventually(ts, func() error {
		client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
		r, err := client.Get(args[0])
		if err != nil {
			return err
		}
		defer func() { _ = r.Body.Close() }()
		fmt.Fprintln(ts.Stdout(), r.Status)
		_, err = io.Copy(ts.Stdout(), r.Body)
		return err
	})
}

// askUDP is ask HOST:PORT TEXT: it sends a datagram, and prints the answer.
func askUDP(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: ask HOST:PORT TEXT")
	}
	c, err := net.Dial("udp", args[0])
	ts.Check(err)
	defer func() { _ = c.Close() }()
	eventually(ts, func() error {
		if _, err := c.Write([]byte(args[1])); err != nil {
			return err
		}
		ts.Check(c.SetReadDeadline(time.Now().Add(time.Second)))
		buf := make([]byte, 1<<16)
		n, err := c.Read(buf)
		if err == nil {
			fmt.Fprintf(ts.Stdout(), "%s\n", buf[:n])
		}
		return err
	})
}

// filterTables is tables: it prints the names of the host's tables of nftables.
func filterTables(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: tables")
	}
	c, err := nftables.New()
	ts.Check(err)
	list, err := c.ListTables()
	ts.Check(err)
	if len(list) == 0 {
		fmt.Fprintln(ts.Stdout(), "none")
	}
	for _, t := range list {
		fmt.Fprintln(ts.Stdout(), t.Name)
	}
}

// eventually repeats what fails until it does not, or patience is at its end.
func eventually(ts *testscript.TestScript, f func() error) {
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("after %v: %v", patience, err)
		}
	}
}
