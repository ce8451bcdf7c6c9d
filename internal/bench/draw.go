package main

import (
	"fmt"
	"io"
	"math"
)

// bar is one way of running a guest, from its start at 0.
type bar struct {
	name  string
	parts []part
}

// part is a stretch of a bar, up to the moment at which it ends in ms.
type part struct {
	name, colour string
	end          float64
}

// bars are the timelines of a report, by its medians.
func (r *report) bars() []bar {
	m := r.median
	return []bar{
		{"QEMU microvm", []part{
			{"QEMU and kernel", "#9db4c0", m(qemuPID1)},
			{"guestinit, reset", "#c9b79c", m(qemuExit)},
		}},
		{"package vmm", []part{
			{"VMM", "#5c6b73", m(vmmRun)},
			{"kernel", "#9db4c0", m(vmmPID1)},
			{"guestinit, reset", "#c9b79c", m(vmmExit)},
		}},
		{"mvm run echo", []part{
			{"CLI, VMM, kernel, guestinit, echo: to the first byte", "#7fb069", m(mvmFirst)},
			{"to exit", "#d36135", m(mvmFirst) + m(mvmEnd)},
		}},
	}
}

// median is that of the series of the given name, 0 if there is none.
func (r *report) median(name string) float64 {
	for _, s := range r.Series {
		if s.Name == name {
			return s.median()
		}
	}
	return 0
}

// Measures of the drawing, in pixels.
const (
	drawWidth  = 860
	drawLeft   = 120 // where 0 ms is
	drawRight  = 70  // room for a bar's total
	barHeight  = 30
	barStep    = 66
	drawTop    = 20
	axisHeight = 40
)

// draw writes the noise, if that was measured, or else the timelines as an SVG.
func (r *report) draw(w io.Writer) {
	if len(r.Noise) > 0 {
		drawNoise(w, r.Noise)
		return
	}
	bars := r.bars()
	longest := 1.0
	for _, b := range bars {
		longest = max(longest, b.parts[len(b.parts)-1].end)
	}
	scale := float64(drawWidth-drawLeft-drawRight) / longest
	bottom := drawTop + barStep*len(bars)
	begin(w, bottom+axisHeight)
	for i, b := range bars {
		b.draw(w, drawTop+barStep*i, scale)
	}
	axis(w, bottom, longest, scale)
	fmt.Fprintln(w, "</svg>")
}

// begin writes the beginning of an SVG of that height.
func begin(w io.Writer, height int) {
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", drawWidth, height)
	fmt.Fprintln(w, `<rect width="100%" height="100%" fill="white"/>`)
}

// drawNoise writes each figure as a bar for each neighbour; the longest of a figure
// is as long as there is room.
func drawNoise(w io.Writer, all []noise) {
	const left, step = 220, 22
	figures := []struct {
		name, unit string
		of         func(noise) float64
	}{
		{"disk: reads of 4 KiB a second", "", func(n noise) float64 { return n.Disk.Rate }},
		{"disk: 99 % of reads take at most", " ms", func(n noise) float64 { return n.Disk.P99 }},
		{"network: round trips a second", "", func(n noise) float64 { return n.Net.Rate }},
		{"network: 99 % of round trips take at most", " ms", func(n noise) float64 { return n.Net.P99 }},
	}
	colours := []string{"#7fb069", "#d36135", "#9db4c0"}
	height := (len(all) + 2) * step
	begin(w, len(figures)*height+drawTop)
	for i, f := range figures {
		y, longest := drawTop+i*height, 1e-9
		for _, n := range all {
			longest = max(longest, f.of(n))
		}
		fmt.Fprintf(w, `<text x="%d" y="%d" font-weight="bold">%s</text>`+"\n", left, y+step-8, f.name)
		for j, n := range all {
			y += step
			length := f.of(n) / longest * (drawWidth - left - drawRight)
			fmt.Fprintf(w, `<text x="%d" y="%d" text-anchor="end">%s</text><rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/><text x="%.1f" y="%d">%.0f%s</text>`+"\n",
				left-8, y+14, n.Neighbour, left, y, length, step-4, colours[j%len(colours)], left+length+6, y+14, f.of(n), f.unit)
		}
	}
	fmt.Fprintln(w, "</svg>")
}

// draw writes a bar whose top is at y, with the names of its parts below it.
func (b bar) draw(w io.Writer, y int, scale float64) {
	fmt.Fprintf(w, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", drawLeft-8, y+20, b.name)
	x := float64(drawLeft)
	for i, p := range b.parts {
		end := drawLeft + p.end*scale
		fmt.Fprintf(w, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n", x, y, end-x, barHeight, p.colour)
		if i == len(b.parts)-1 {
			fmt.Fprintf(w, `<text x="%.1f" y="%d">%.0f ms</text>`+"\n", end+6, y+20, p.end)
			fmt.Fprintf(w, `<text x="%.1f" y="%d" text-anchor="end" font-size="10">%s</text>`+"\n", end, y+barHeight+12, p.name)
		} else {
			fmt.Fprintf(w, `<text x="%.1f" y="%d" font-size="10">%s: %.0f</text>`+"\n", x, y+barHeight+12+11*(i%2), p.name, p.end)
		}
		x = end
	}
}

// axis writes a scale of some five steps below the bars.
func axis(w io.Writer, y int, longest, scale float64) {
	step := math.Pow(10, math.Floor(math.Log10(longest)))
	if longest/step < 4 {
		step /= 2
	}
	fmt.Fprintf(w, `<line x1="%d" y1="%d" x2="%.1f" y2="%d" stroke="black"/>`+"\n", drawLeft, y, drawLeft+longest*scale, y)
	for v := 0.0; v <= longest; v += step {
		x := drawLeft + v*scale
		fmt.Fprintf(w, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="black"/><text x="%.1f" y="%d" text-anchor="middle">%.0f ms</text>`+"\n",
			x, y, x, y+5, x, y+20, v)
	}
}
