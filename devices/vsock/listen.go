package vsock

import (
	"errors"
	"fmt"
	"net"
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
	// maxConnectLine is "CONNECT 4294967295\n".
	maxConnectLine = 19
)

// response is the guest's yes to the host's request. A connection that asked for
// nothing gets a reset.
func (c *conn) response() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isOpen {
		return false
	}
	c.isOpen = true
	c.changed.Broadcast()
	return true
}

// accept takes the host's connections until Stop.
func (d *Device) accept() {
	for {
		uc, err := d.ln.AcceptUnix()
		if err != nil {
			return
		}
		d.host.Go(func() { // ends by connectTimeout, or when Stop closes the connection
			if err := d.fromHost(uc); err != nil {
				uc.Close()
			}
		})
	}
}

// fromHost carries a connection of the host's to the guest.
func (d *Device) fromHost(uc *net.UnixConn) error {
	if err := uc.SetDeadline(time.Now().Add(connectTimeout)); err != nil {
		return err
	}
	port, err := readConnect(uc)
	if err != nil {
		return err
	}
	c, err := newConn(d, key{host: d.hostPort(), guest: port}, uc)
	if err != nil {
		return err
	}
	if !d.add(c) {
		return errors.New("too many connections")
	}
	c.control(flagRequest)
	if !c.waitOpen() {
		d.drop(c)
		return errors.New("nobody listens")
	}
	if _, err := fmt.Fprintf(uc, "OK %d\n", c.key.host); err != nil {
		d.reset(c)
		return err
	}
	if err := uc.SetDeadline(time.Time{}); err != nil {
		d.reset(c)
		return err
	}
	c.start()
	return nil
}

// waitOpen waits for the guest's answer, no longer than connectTimeout.
func (c *conn) waitOpen() bool {
	timeout := time.AfterFunc(connectTimeout, c.close)
	defer timeout.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.isOpen && !c.closed {
		c.changed.Wait()
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
	var line []byte
	for b := make([]byte, 1); len(line) < maxConnectLine; {
		if _, err := c.Read(b); err != nil {
			return 0, err
		}
		if b[0] == '\n' {
			break
		}
		line = append(line, b[0])
	}
	text, ok := strings.CutPrefix(string(line), "CONNECT ")
	port, err := strconv.ParseUint(text, 10, 32)
	if !ok || err != nil {
		return 0, fmt.Errorf("%q is not CONNECT and a port", line)
	}
	return uint32(port), nil
}
