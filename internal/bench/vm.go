package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/mvm-project/mvm/vmm"
)

// marks are moments of a VM's life, counted from before it was made.
type marks struct {
	Run, PID1, Exit time.Duration
}

// stamp is a console that notes when something was first printed.
type stamp struct {
	start time.Time
	first time.Duration
}

func (s *stamp) Write(p []byte) (int, error) {
	if s.first == 0 {
		s.first = time.Since(s.start)
	}
	return len(p), nil
}

// runVM boots KERNEL INITRD MEMORY(MiB) without disks or vsock and prints marks.
func runVM(args []string) error {
	if len(args) != 3 {
		return errors.New("usage: bench vm KERNEL INITRD MEMORY")
	}
	mib, err := strconv.ParseInt(args[2], 10, 64)
	if err != nil {
		return fmt.Errorf("memory: %w", err)
	}
	console := &stamp{start: time.Now()}
	vm, err := vmm.New(vmm.Config{
		Kernel: args[0], MapKernel: true, Initrd: args[1], VCPUs: 1, Memory: mib << 20, Args: strings.Fields(os.Getenv(kernelArgsEnv)),
	}, console)
	if err != nil {
		return err
	}
	m := marks{Run: time.Since(console.start)}
	if err := vm.Run(context.Background()); !errors.Is(err, vmm.ErrReset) {
		return errors.Join(err, vm.Close())
	}
	if err := vm.Close(); err != nil {
		return err
	}
	m.PID1, m.Exit = console.first, time.Since(console.start)
	return json.NewEncoder(os.Stdout).Encode(m)
}
