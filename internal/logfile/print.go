package logfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// Options say what of a log is printed, and how.
type Options struct {
	// Since and Until bound the times of what is printed; zero: no bound.
	Since, Until time.Time
	// Tail is how many lines at the end are printed; negative: all.
	Tail int
	// Timestamps puts its time before each line.
	Timestamps bool
	// Wait waits for more, once all has been printed, and says whether there may
	// be any; nil: do not wait.
	Wait func(context.Context) (more bool, err error)
}

// Print prints the log at path: what came from stderr to stderr, and a line of
// its own there where something is missing.
func Print(ctx context.Context, path string, o Options, stdout, stderr io.Writer) error {
	r, skip, err := openTail(path, o)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	p := printer{
		options: o, skip: skip,
		out: line{w: stdout, fresh: true}, err: line{w: stderr, fresh: true},
	}
	for more := true; more; {
		if err := p.all(ctx, r); err != nil || o.Wait == nil {
			return err
		}
		if more, err = o.Wait(ctx); err != nil {
			return err
		}
	}
	return p.all(ctx, r) // what came last
}

// openTail opens a log, and says how many of its lines come before the tail.
func openTail(path string, o Options) (r *Reader, skip int, err error) {
	for {
		r, err = Open(path)
		if err != nil || o.Tail < 0 {
			return r, 0, err
		}
		lines, oldest, err := count(path, o)
		if err != nil {
			return nil, 0, errors.Join(err, r.Close())
		}
		if fi, err := r.f.Stat(); err == nil && os.SameFile(fi, oldest) {
			return r, max(0, lines-o.Tail), nil
		}
		_ = r.Close() // rotated meanwhile
	}
}

// count counts the lines of a log, and returns its oldest file.
func count(path string, o Options) (lines int, oldest os.FileInfo, err error) {
	r, err := Open(path)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = r.Close() }()
	if oldest, err = r.f.Stat(); err != nil {
		return 0, nil, err
	}
	var open [Lost + 1]bool // streams whose last line has no end yet
	for {
		rec, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			for _, is := range open {
				if is {
					lines++
				}
			}
			return lines, oldest, nil
		case err != nil:
			return 0, nil, err
		case rec.Stream != Lost && o.within(rec.Time) && len(rec.Data) > 0:
			lines += bytes.Count(rec.Data, []byte{'\n'})
			open[rec.Stream] = rec.Data[len(rec.Data)-1] != '\n'
		}
	}
}

func (o Options) within(t time.Time) bool {
	return !t.Before(o.Since) && (o.Until.IsZero() || !t.After(o.Until))
}

// printer prints records as lines.
type printer struct {
	options  Options
	skip     int // lines still to be left out
	out, err line
}

// line is a stream that is printed.
type line struct {
	w     io.Writer
	fresh bool // the next byte begins a line
}

// all prints what there is.
func (p *printer) all(ctx context.Context, r *Reader) error {
	for ctx.Err() == nil {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && p.options.within(rec.Time) {
			err = p.record(rec)
		}
		if err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

func (p *printer) record(r Record) error {
	switch r.Stream {
	case Stdout:
		return p.print(&p.out, r)
	case Stderr:
		return p.print(&p.err, r)
	}
	n, why, _ := strings.Cut(string(r.Data), " ")
	_, err := fmt.Fprintf(p.err.w, "mvm: %q bytes of the log are lost here: %q\n", n, why)
	return err
}

// print prints r line by line, as far as something is to go before a line or
// lines are to be left out.
func (p *printer) print(l *line, r Record) error {
	data := r.Data
	for len(data) > 0 && p.skip > 0 {
		i := bytes.IndexByte(data, '\n')
		if i < 0 {
			return nil
		}
		data = data[i+1:]
		p.skip--
	}
	if !p.options.Timestamps {
		_, err := l.w.Write(data)
		return err
	}
	for len(data) > 0 {
		i := bytes.IndexByte(data, '\n') + 1
		if i == 0 {
			i = len(data)
		}
		if l.fresh {
			if _, err := io.WriteString(l.w, r.Time.UTC().Format(timeFormat)); err != nil {
				return err
			}
		}
		if _, err := l.w.Write(data[:i]); err != nil {
			return err
		}
		l.fresh = data[i-1] == '\n'
		data = data[i:]
	}
	return nil
}

// timeFormat is docker's: RFC 3339 with nine digits of a second, and a space.
const timeFormat = "2006-01-02T15:04:05.000000000Z07:00 "
