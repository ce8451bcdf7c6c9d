package main

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// TestFilters: the filters that programs apply are those of the rules.
func TestFilters(t *testing.T) {
	want, err := file()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../" + fileName)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("internal/seccomp/%s is not of these rules: go generate ./internal/seccomp", fileName)
	}
}

// TestAnswers: a filter answers what its rules say, of every call, with arguments
// that might be taken for something else.
func TestAnswers(t *testing.T) {
	for _, p := range programs() {
		vm, err := bpf.NewVM(p.rules.assemble())
		if err != nil {
			t.Fatal(err)
		}
		random := rand.New(rand.NewPCG(1, 2))
		for call := range uint32(600) {
			rounds := 10
			if slices.ContainsFunc(slices.Concat(p.rules.checks, runtimeChecks()), func(c check) bool { return c.call == call }) {
				rounds = 1000
			}
			for range rounds {
				args := arguments(random, p.rules)
				if got, want := ask(t, vm, unix.AUDIT_ARCH_X86_64, call, args), answer(p.rules, call, args); got != want {
					t.Fatalf("%s: call %d of %#x: %#x, want %#x", p.program, call, args, got, want)
				}
			}
			if ask(t, vm, unix.AUDIT_ARCH_X86_64, call|x32, [6]uint64{}) != refuse || ask(t, vm, unix.AUDIT_ARCH_I386, call, [6]uint64{}) != refuse {
				t.Errorf("%s: call %d of another kind is not refused", p.program, call)
			}
		}
	}
}

// arguments are numbers of calls, and values that rules name, and a bit beside them.
func arguments(random *rand.Rand, r rules) (args [6]uint64) {
	values := slices.Concat(runtimeCalls(), r.calls, []uint32{0})
	for _, c := range slices.Concat(r.checks, runtimeChecks()) {
		values = append(append(values, c.call), c.values...)
	}
	for i := range args {
		args[i] = uint64(values[random.IntN(len(values))])
		if random.IntN(2) > 0 {
			args[i] ^= 1 << random.IntN(64)
		}
	}
	return args
}

// answer is what the rules say.
func answer(r rules, call uint32, args [6]uint64) uint32 {
	if call == unix.SYS_CLONE3 {
		return missing
	}
	for _, c := range slices.Concat(r.checks, runtimeChecks()) {
		if c.call != call {
			continue
		}
		got := uint32(args[c.arg])
		if slices.ContainsFunc(c.values, func(v uint32) bool {
			return c.test == bpf.JumpEqual && got == v || c.test == bpf.JumpBitsSet && got&v != 0 || c.test == bpf.JumpBitsNotSet && got&v == 0
		}) {
			return allow
		}
		return refuse
	}
	if slices.Contains(slices.Concat(runtimeCalls(), r.calls), call) {
		return allow
	}
	return refuse
}

// ask runs a filter. The machine takes a packet, whose numbers begin with their
// highest byte.
func ask(t *testing.T, vm *bpf.VM, arch, call uint32, args [6]uint64) uint32 {
	t.Helper()
	data := binary.BigEndian.AppendUint32(nil, call)
	data = binary.BigEndian.AppendUint32(data, arch)
	data = binary.BigEndian.AppendUint64(data, 0) // the instruction pointer
	for _, a := range args {
		data = binary.BigEndian.AppendUint32(data, uint32(a)) // the low half comes first
		data = binary.BigEndian.AppendUint32(data, uint32(a>>32))
	}
	got, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(got)
}
