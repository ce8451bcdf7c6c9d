package vsock

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	// firstHostPort begins the ports given to the host's ends, out of the way of
	// ports that services have.
	firstHostPort = 1 << 30
	// connectTimeout bounds how long a host process may take to say CONNECT, and
	// the guest to answer.
	connectTimeout = 10 * time.Second
	// acceptPause is how long a failing accept rests.
	acceptPause = 100 * time.Millisecond
	// maxConnectLine is "CONNECT 4294967295\n".
	maxConnectLine = 19
)

// accept takes the host's connections until Stop.
func (d *Device) accept() {
	for {
		uc, err := d.ln.AcceptUnix()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
			return
		case err != nil: // no descriptors left, for one: it may get better
			time.Sleep(acceptPause)
			continue
		}
		d.host.Go(func() { // ends by connectTimeout, or when Stop closes the connection
			if err := d.fromHost(uc); err != nil {
				_ = uc.Close()
			}
		})
	}
}

// fromHost carries a connection of the host's to the guest.
func (d *Device) fromHost(uc *net.UnixConn) error {
	port, err := d.greet(uc)
	if err != nil {
		return err
	}
	c, err := newConn(d, key{host: d.hostPort(), guest: port}, uc)
	if err != nil {
		return err
	}
	c.writing = true // nothing of the guest's may overtake OK
	if !d.add(c) {
		return errors.New("too many connections")
	}
	c.control(flagRequest)
	if !c.waitOpen() {
		d.reset(c)
		return errors.New("nobody listens")
	}
	_, err = fmt.Fprintf(uc, "OK %d\n", c.key.host)
	if err = errors.Join(err, uc.SetDeadline(time.Time{})); err != nil {
		d.reset(c)
		return err
	}
	c.mu.Lock()
	c.writing = false
	c.mu.Unlock()
	c.start()
	return nil
}

// greet reads which port a host process wants. Until it has, the process has a
// place in d.greeting, by which Stop can end the wait.
func (d *Device) greet(uc *net.UnixConn) (port uint32, err error) {
	d.mu.Lock()
	ok := d.running && len(d.greeting) < maxConns
	if ok {
		d.greeting[uc] = struct{}{}
	}
	d.mu.Unlock()
	if !ok {
		return 0, errors.New("too many connections")
	}
	defer func() {
		d.mu.Lock()
		delete(d.greeting, uc)
		d.mu.Unlock()
	}()
	if err := uc.SetDeadline(time.Now().Add(connectTimeout)); err != nil {
		return 0, err
	}
	return readConnect(uc)
}

// waitOpen waits for the guest's answer, no longer than connectTimeout.
func (c *conn) waitOpen() bool {
	timeout := time.AfterFunc(connectTimeout, c.close)
	defer timeout.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.isOpen && !c.closed {
		c.reader.Wait()
	}
	return !c.closed
}

// hostPort is a port for the host's end of a connection.
func (d *Device) hostPort() uint32 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.nextPort < firstHostPort {
		d.nextPort = firstHostPort
	}
	d.nextPort++
	return d.nextPort - 1
}

// readConnect reads "CONNECT <port>\n" and not a byte more.
func readConnect(c net.Conn) (uint32, error) {
	line := make([]byte, 0, maxConnectLine)
	for !bytes.HasSuffix(line, []byte("\n")) && len(line) < maxConnectLine {
		if _, err := io.ReadFull(c, line[len(line):len(line)+1]); err != nil {
			return 0, err
		}
		line = line[:len(line)+1]
	}
	text, starts := strings.CutPrefix(string(line), "CONNECT ")
	text, ends := strings.CutSuffix(text, "\n")
	port, err := strconv.ParseUint(text, 10, 32)
	if !starts || !ends || err != nil {
		return 0, fmt.Errorf("%q is not CONNECT and a port", line)
	}
	return uint32(port), nil
}
