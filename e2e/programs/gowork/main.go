// Command gowork leans on what the Go runtime asks of a kernel: threads, futexes,
// timers, preemption by signals, page faults of a growing heap, and processes. It
// checks every result and says what it did.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "child" {
		n, _ := strconv.Atoi(os.Args[2])
		os.Exit(n % 100)
	}
	rounds, err := strconv.Atoi(os.Args[len(os.Args)-1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "usage: gowork ROUNDS")
		os.Exit(2)
	}
	for _, part := range []struct {
		name string
		do   func(n int) error
	}{
		{"goroutines", goroutines},
		{"garbage", garbage},
		{"timers", timers},
		{"preemption", preemption},
		{"signals", signals},
		{"processes", processes},
	} {
		if err := part.do(rounds); err != nil {
			fmt.Println(part.name, "wrong:", err)
			os.Exit(1)
		}
		fmt.Println(part.name, "right")
	}
}

// goroutines passes numbers through a chain of channels.
func goroutines(n int) error {
	in := make(chan int)
	out := in
	for range 100 {
		next := make(chan int)
		go func(from, to chan int) { // ends when from is closed
			defer close(to)
			for v := range from {
				to <- v + 1
			}
		}(out, next)
		out = next
	}
	go func() { // ends after n numbers
		defer close(in)
		for i := range n {
			in <- i
		}
	}()
	want := 0
	for v := range out {
		if v != want+100 {
			return fmt.Errorf("%d, not %d", v, want+100)
		}
		want++
	}
	if want != n {
		return fmt.Errorf("%d numbers, not %d", want, n)
	}
	return nil
}

// garbage keeps one of ten allocations over collections.
func garbage(n int) error {
	var kept [][]byte
	for i := range 100 * n {
		b := make([]byte, 1000+i%1000)
		b[0], b[len(b)-1] = byte(i), byte(i>>8)
		if i%10 == 0 {
			kept = append(kept, b)
		}
	}
	runtime.GC()
	for k, b := range kept {
		if i := k * 10; b[0] != byte(i) || b[len(b)-1] != byte(i>>8) {
			return fmt.Errorf("allocation %d has changed", i)
		}
	}
	return nil
}

// timers sleep in many goroutines at once, none too short.
func timers(n int) error {
	var wg sync.WaitGroup
	short := make(chan time.Duration, n)
	for i := range n {
		wg.Go(func() { // ends after its sleep
			d := time.Duration(i%20) * time.Millisecond
			start := time.Now()
			time.Sleep(d)
			if slept := time.Since(start); slept < d {
				short <- slept
			}
		})
	}
	wg.Wait()
	if len(short) > 0 {
		return fmt.Errorf("a sleep of only %v", <-short)
	}
	return nil
}

// preemption needs a sleeper to wake among goroutines that never give the CPU
// away: if it does not, this does not end.
func preemption(int) error {
	var stop atomic.Bool
	sums := make(chan uint64)
	n := runtime.GOMAXPROCS(0) + 1
	for range n {
		go func() { // ends with stop
			sum := uint64(0)
			for i := uint64(1); !stop.Load(); i++ {
				sum += i
			}
			sums <- sum
		}()
	}
	for range 10 {
		time.Sleep(10 * time.Millisecond)
	}
	stop.Store(true)
	for range n {
		<-sums
	}
	return nil
}

// signals sends them to itself, one at a time.
func signals(n int) error {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	defer signal.Stop(c)
	for range n {
		if err := syscall.Kill(os.Getpid(), syscall.SIGUSR1); err != nil {
			return err
		}
		<-c
	}
	return nil
}

// processes starts this program n times over.
func processes(n int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for i := range n {
		cmd := exec.Command(self, "child", strconv.Itoa(i))
		err := cmd.Run()
		if cmd.ProcessState == nil {
			return err // it was not even started
		}
		if cmd.ProcessState.ExitCode() != i%100 {
			return fmt.Errorf("round %d: %v", i, cmd.ProcessState)
		}
	}
	return nil
}
