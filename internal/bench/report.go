package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// series are the samples of one figure, in the order they were taken.
type series struct {
	Name    string
	Unit    string // "ms", "us" or "KiB"
	Samples []float64
}

func (s series) median() float64 {
	if len(s.Samples) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(s.Samples))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// report is all that one run measured, in the order first seen.
type report struct {
	Series []*series
	Rates  []rate     `json:",omitempty"`
	IO     []ioResult `json:",omitempty"`
	Noise  []noise    `json:",omitempty"`
	Hung   int        // runs that were ended after a minute and repeated
}

func (r *report) add(name, unit string, v float64) {
	i := slices.IndexFunc(r.Series, func(s *series) bool { return s.Name == name })
	if i < 0 {
		i = len(r.Series)
		r.Series = append(r.Series, &series{Name: name, Unit: unit})
	}
	r.Series[i].Samples = append(r.Series[i].Samples, v)
}

func (r *report) time(name string, d time.Duration) {
	r.add(name, "ms", float64(d)/float64(time.Millisecond))
}

// reference is the figure that the others of its unit are divided by.
var reference = map[string]string{"ms": qemuExit, "KiB": qemuMemory}

// print writes what was measured.
func (r *report) print(w io.Writer) {
	if len(r.Series) > 0 {
		r.printSeries(w)
	}
	if len(r.Rates) > 0 {
		fmt.Fprintln(w)
		printRates(w, r.Rates)
	}
	if len(r.IO) > 0 {
		fmt.Fprintln(w)
		printIO(w, r.IO)
	}
	if len(r.Noise) > 0 {
		printNoise(w, r.Noise)
	}
	if r.Hung > 0 {
		fmt.Fprintf(w, "%d runs hung and were repeated: see docs/bench.md\n", r.Hung)
	}
}

// printSeries writes a table: median, spread, and the ratio to QEMU's figure.
func (r *report) printSeries(w io.Writer) {
	base := map[string]float64{}
	for _, s := range r.Series {
		if reference[s.Unit] == s.Name {
			base[s.Unit] = s.median()
		}
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "median\tmin\tmax\tunit\tto QEMU's\t  what")
	for _, s := range r.Series {
		ratio := "-"
		if b := base[s.Unit]; b > 0 {
			ratio = fmt.Sprintf("%.2f", s.median()/b)
		}
		fmt.Fprintf(t, "%.1f\t%.1f\t%.1f\t%s\t%s\t  %s\n", s.median(),
			slices.Min(s.Samples), slices.Max(s.Samples), s.Unit, ratio, s.Name)
	}
	_ = t.Flush()
}
