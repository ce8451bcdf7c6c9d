// Package seccomp is the filter of system calls that docker's default profile
// is, for x86-64 (seccomp(2), github.com/moby/profiles/seccomp).
//
// The kernel runs the filter for every number once when it is set, and then
// again for those whose arguments matter. So the filter is a binary search over
// ranges of numbers: some eight steps, where a list is some seventy.
package seccomp

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArg0   = 16 // its low half
)

// Instructions of the classic BPF machine.
const (
	load    = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	ret     = unix.BPF_RET | unix.BPF_K
	ifEqual = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	ifLeast = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	ifBits  = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
)

// Answers of the filter (linux/seccomp.h).
const (
	killProcess = 0x80000000
	refuse      = 0x00050000 // with an errno
	allow       = 0x7fff0000
)

// auditArch is AUDIT_ARCH_X86_64.
const auditArch = 0xc000003e

// namespaceFlags are clone's CLONE_NEW*.
const namespaceFlags = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

type program []unix.SockFilter

func op(code uint16, k uint32) unix.SockFilter { return unix.SockFilter{Code: code, K: k} }

func jump(code uint16, k uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: code, K: k, Jt: yes, Jf: no}
}

// Filter is the program for a process with these capabilities ("CAP_CHOWN"),
// some of which allow system calls.
func Filter(capabilities []string) ([]unix.SockFilter, error) {
	rules := refused()
	for _, c := range capabilities {
		for _, nr := range allowedBy(c) {
			delete(rules, nr)
		}
	}
	numbers := make([]int, 0, len(rules))
	for nr := range rules {
		numbers = append(numbers, nr)
	}
	slices.Sort(numbers)
	tree, err := search(ranges(numbers, rules))
	if err != nil {
		return nil, err
	}
	return append(program{
		op(load, offsetArch),
		jump(ifEqual, auditArch, 1, 0),
		op(ret, killProcess),
		op(load, offsetNumber),
	}, tree...), nil
}

// span is what happens to the numbers from first on, up to the next span.
type span struct {
	first int
	do    program
}

// ranges lays the rules, in the order of numbers, over all numbers there are.
func ranges(numbers []int, rules map[int]program) []span {
	pass := program{op(ret, allow)}
	spans := []span{{0, pass}}
	for _, nr := range numbers {
		last := &spans[len(spans)-1]
		if last.first == nr {
			last.do = rules[nr]
		} else {
			spans = append(spans, span{nr, rules[nr]})
		}
		spans = append(spans, span{nr + 1, pass})
	}
	return slices.CompactFunc(spans, func(a, b span) bool { return slices.Equal(a.do, b.do) })
}

// search finds a number's span by halves.
func search(spans []span) (program, error) {
	if len(spans) == 1 {
		return spans[0].do, nil
	}
	middle := len(spans) / 2
	below, err := search(spans[:middle])
	if err != nil {
		return nil, err
	}
	above, err := search(spans[middle:])
	if err != nil {
		return nil, err
	}
	const furthest = 255 // a jump's offset is a byte
	if len(below) > furthest {
		return nil, fmt.Errorf("seccomp: a jump over %d instructions", len(below))
	}
	node := program{jump(ifLeast, uint32(spans[middle].first), uint8(len(below)), 0)}
	return append(append(node, below...), above...), nil
}
