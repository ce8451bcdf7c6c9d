package vhost

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"time"
)

// pollInterval is how often QEMU is asked whether a socket or a migration is
// ready; it tells of neither.
const pollInterval = 2 * time.Millisecond

// dial connects to a socket that QEMU is about to make.
func dial(ctx context.Context, path string) (net.Conn, error) {
	for {
		c, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
		if err == nil {
			return c, nil
		}
		select {
		case <-time.After(pollInterval):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// qmp is a connection to QEMU's monitor (QEMU Machine Protocol).
type qmp struct {
	c   net.Conn
	dec *json.Decoder
}

// object is a JSON object.
type object = map[string]any

func dialQMP(ctx context.Context, path string) (*qmp, error) {
	c, err := dial(ctx, path)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(deadline) // fails only on a closed connection
	}
	q := &qmp{c: c, dec: json.NewDecoder(c)}
	var greeting object
	err = q.dec.Decode(&greeting)
	if err == nil {
		_, err = q.do("qmp_capabilities", nil)
	}
	if err == nil { // RAM stays in its file
		_, err = q.do("migrate-set-capabilities", object{"capabilities": []object{{"capability": "x-ignore-shared", "state": true}}})
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("QEMU's monitor: %w", err)
	}
	return q, nil
}

// do runs a command and returns its answer, past the events that come between.
func (q *qmp) do(command string, arguments object) (object, error) {
	request := object{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	if err := json.NewEncoder(q.c).Encode(request); err != nil {
		return nil, fmt.Errorf("%s: %w", command, err)
	}
	for {
		var answer struct{ Return, Error object }
		if err := q.dec.Decode(&answer); err != nil {
			return nil, fmt.Errorf("%s: %w", command, err)
		}
		if answer.Error != nil {
			return nil, fmt.Errorf("%s: %v", command, answer.Error["desc"])
		}
		if answer.Return != nil {
			return answer.Return, nil
		}
	}
}

// migrated waits for the end of a migration.
func (q *qmp) migrated() error {
	for {
		r, err := q.do("query-migrate", nil)
		if err != nil {
			return err
		}
		switch r["status"] {
		case "completed":
			return nil
		case "failed", "cancelled":
			return fmt.Errorf("migration %v: %v", r["status"], r["error-desc"])
		}
		time.Sleep(pollInterval)
	}
}

// save stops the machine, writes all but its RAM to path, and ends QEMU.
func save(ctx context.Context, socket, path string) error {
	q, err := dialQMP(ctx, socket)
	if err != nil {
		return err
	}
	defer q.c.Close()
	if _, err := q.do("stop", nil); err != nil {
		return err
	}
	if _, err := q.do("migrate", object{"uri": "exec:cat > '" + path + "'"}); err != nil {
		return err
	}
	if err := q.migrated(); err != nil {
		return err
	}
	_, err = q.do("quit", nil)
	return err
}

// load reads a machine from path and lets it run.
func load(ctx context.Context, socket, path string) error {
	q, err := dialQMP(ctx, socket)
	if err != nil {
		return err
	}
	defer q.c.Close()
	if _, err := q.do("migrate-incoming", object{"uri": "exec:cat '" + path + "'"}); err != nil {
		return err
	}
	if err := q.migrated(); err != nil {
		return err
	}
	_, err = q.do("cont", nil)
	return err
}
