package memory

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// SmallPages keeps the host from backing what this process has mapped so far, the
// Go runtime's heap and tables, with huge pages, as it does everywhere if
// transparent huge pages are "always" on: less than a megabyte in use would take
// six. It is for the beginning of main, in a process started under
// PR_SET_THP_DISABLE, which it lifts: guest memory is to be huge. It does what it
// can; a host without huge pages refuses.
func SmallPages() {
	maps, _ := os.ReadFile("/proc/self/maps")
	for line := range strings.Lines(string(maps)) {
		span, _, _ := strings.Cut(line, " ") // proc(5): START-END in hexadecimal
		from, to, _ := strings.Cut(span, "-")
		start, err1 := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		if err1 == nil && err2 == nil {
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(start), uintptr(end-start), unix.MADV_NOHUGEPAGE)
		}
	}
	_ = unix.Prctl(unix.PR_SET_THP_DISABLE, 0, 0, 0, 0)
}
