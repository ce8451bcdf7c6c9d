package main

import (
	"fmt"
	"io"
	"os"

	"github.com/docker/go-units"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/mvm-project/mvm/images"
)

// progressTo is where progress goes.
func progressTo(quiet bool) io.Writer {
	if quiet {
		return io.Discard
	}
	return os.Stderr
}

// showProgress shows how far the layers of an image are: as bars on a terminal,
// else as a line for each step that is done. done ends it, also half-way.
func showProgress(w io.Writer) (report func(images.Event), done func()) {
	if f, ok := w.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		return func(e images.Event) { printStep(w, e) }, func() {}
	}
	b := &bars{progress: mpb.New(mpb.WithOutput(w), mpb.WithWidth(64)), bars: map[string]*mpb.Bar{}}
	return b.report, b.done
}

func printStep(w io.Writer, e images.Event) {
	if e.Current == e.Total {
		fmt.Fprintf(w, "%s: %s done (%s)\n", shortID(e.Layer), e.Phase, units.HumanSize(float64(e.Total)))
	}
}

// bars has one bar for each step of each layer.
type bars struct {
	progress *mpb.Progress
	bars     map[string]*mpb.Bar
}

func (b *bars) report(e images.Event) {
	name := fmt.Sprintf("%s %-8s", shortID(e.Layer), e.Phase)
	bar := b.bars[name]
	if bar == nil {
		bar = b.progress.AddBar(e.Total,
			mpb.PrependDecorators(decor.Name(name+" ")),
			mpb.AppendDecorators(decor.CountersKiloByte("% .1f / % .1f")))
		b.bars[name] = bar
	}
	bar.SetCurrent(e.Current)
}

func (b *bars) done() {
	for _, bar := range b.bars {
		bar.Abort(false) // a no-op for those that are complete
	}
	b.progress.Wait()
}
