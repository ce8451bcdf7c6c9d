package boot

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/mvm-project/mvm/vmm/memory"
)

var update = flag.Bool("update", false, "write the golden files anew: read what changed before it is committed")

// TestLayout compares all that Load writes below 1 MiB, but for the page
// directories, with what was looked at by hand (testdata/*.golden).
func TestLayout(t *testing.T) {
	elf := elfFile(0x3000, 1<<20, phdr{elfLoad, 0x1000, 1 << 20, 0x1000, 0x1000})
	for name, c := range map[string]struct {
		cfg    Config
		memory int64
	}{
		"elf-16M-1cpu":     {Config{Kernel: bytes.NewReader(elf), Cmdline: "quiet reboot=k", VCPUs: 1, Lines: 24}, 16 << 20},
		"bzimage-5G-3cpus": {Config{Kernel: bytes.NewReader(bzFile(0x8000)), Initrd: strings.NewReader("initramfs"), Cmdline: "quiet", VCPUs: 3, Lines: 7}, 5 << 30},
	} {
		t.Run(name, func(t *testing.T) {
			mem, ranges := ram(t, c.memory)
			c.cfg.RAM = ranges
			if _, err := Load(mem, c.cfg); err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata", name+".golden"), dump(t, mem))
		})
	}
}

// dump shows every line of low memory that is not zero.
func dump(t *testing.T, mem Memory) string {
	low, err := mem.Slice(0, highStart)
	if err != nil {
		t.Fatal(err)
	}
	var s strings.Builder
	for at := 0; at < len(low); at += 16 {
		line := low[at:][:16]
		if len(bytes.Trim(line, "\x00")) == 0 || at >= pdAddr && at < pdAddr+mappedGiB*pageSize {
			continue
		}
		_, text, _ := strings.Cut(hex.Dump(line), " ")
		fmt.Fprintf(&s, "%05x %s", at, text)
	}
	return s.String()
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// TestPageTables walks them as the processor does (Intel SDM 3A, 4.5).
func TestPageTables(t *testing.T) {
	mem, _ := ram(t, 16<<20)
	if err := pageTables(mem); err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		addr := rapid.Uint64Range(0, 1<<39-1).Draw(t, "address")
		got, ok := walk(mem, addr)
		if want := addr < mappedGiB<<30; ok != want || ok && got != addr {
			t.Fatalf("%#x is mapped to %#x, %v", addr, got, ok)
		}
	})
	for _, addr := range []uint64{0, 1<<30 - 1, 1 << 30, mappedGiB<<30 - 1} {
		if got, ok := walk(mem, addr); !ok || got != addr {
			t.Errorf("%#x is mapped to %#x, %v", addr, got, ok)
		}
	}
}

// walk translates a linear address, for writing.
func walk(mem Memory, addr uint64) (uint64, bool) {
	table := uint64(pml4Addr)
	for shift := 39; ; shift -= 9 {
		b, err := mem.Slice(table+(addr>>shift)%512*8, 8)
		e := binary.LittleEndian.Uint64(b)
		if err != nil || e&(pagePresent|pageWritable) != pagePresent|pageWritable {
			return 0, false
		}
		table = e &^ (pageSize - 1)
		if e&pageHuge != 0 {
			return table + addr%(1<<shift), true
		}
	}
}

// TestE820: the map is RAM without a PC's hole, in order, and nothing else.
func TestE820(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(1, 1<<20).Draw(t, "pages")*pageSize + highStart
		mem := rangesOf(uint64(size))
		z := zeroPage{ram: mem}
		total, end := uint64(0), uint64(0)
		for _, r := range z.e820() {
			if r.Size == 0 || r.GPA < end {
				t.Fatalf("%#x-%#x overlaps what lies before", r.GPA, r.GPA+r.Size)
			}
			total, end = total+r.Size, r.GPA+r.Size
			if r.GPA < highStart && end > lowEnd || r.GPA < memory.HoleEnd && end > memory.HoleStart {
				t.Fatalf("%#x-%#x is no RAM", r.GPA, end)
			}
		}
		if want := uint64(size) - (highStart - lowEnd); total != want {
			t.Fatalf("%d bytes in the map, want %d", total, want)
		}
	})
}

func rangesOf(size uint64) []Range {
	if size <= memory.HoleStart {
		return []Range{{0, size}}
	}
	return []Range{{0, memory.HoleStart}, {memory.HoleEnd, size - memory.HoleStart}}
}

const mpLines = 9 // interrupt lines in TestMPTable

// TestMPTable reads the table for every number of processors.
func TestMPTable(t *testing.T) {
	mem, _ := ram(t, 16<<20)
	for n := 1; n <= MaxVCPUs; n++ {
		if err := (mpTable{n, mpLines}).write(mem); err != nil {
			t.Fatal(err)
		}
		float, _ := mem.Slice(mpFloatAddr, mpFloatSize)
		head, _ := mem.Slice(mpTableAddr, mpHeaderSize)
		table, _ := mem.Slice(mpTableAddr, int(binary.LittleEndian.Uint16(head[4:])))
		if checksum(float) != 0 || checksum(table) != 0 {
			t.Fatalf("%d processors: the checksums are wrong", n)
		}
		if end := mpTableAddr + len(table); end > mpFloatAddr {
			t.Fatalf("%d processors: the table ends at %#x", n, end)
		}
		checkEntries(t, n, table)
	}
	for _, n := range []int{-1, 0, MaxVCPUs + 1} {
		if err := (mpTable{n, mpLines}).write(mem); err == nil {
			t.Errorf("%d processors are possible", n)
		}
	}
}

func checkEntries(t *testing.T, n int, table []byte) {
	t.Helper()
	seen := map[byte]int{} // entries by kind
	p := table[mpHeaderSize:]
	for len(p) > 0 {
		kind, size := p[0], mpEntrySize
		switch kind {
		case mpCPU:
			size = mpCPUSize
			if first := p[3]&cpuBoot != 0; int(p[1]) != seen[kind] || first != (p[1] == 0) || p[3]&cpuEnabled == 0 {
				t.Errorf("processor %d of %d: % x", seen[kind], n, p[:size])
			}
		case mpIOAPIC:
			if int(p[1]) != n || binary.LittleEndian.Uint32(p[4:]) != IOAPICAddr {
				t.Errorf("I/O APIC beside %d processors: % x", n, p[:size])
			}
		case mpIOInterrupt:
			if pin := seen[kind]; int(p[5]) != pin || int(p[7]) != pin || int(p[6]) != n {
				t.Errorf("line %d beside %d processors: % x", pin, n, p[:size])
			}
		}
		seen[kind]++
		p = p[size:]
	}
	want := map[byte]int{mpCPU: n, mpBus: 1, mpIOAPIC: 1, mpIOInterrupt: mpLines, mpLocalInt: 1}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("entries for %d processors (-want +got):\n%s", n, diff)
	}
	if got := int(binary.LittleEndian.Uint16(table[34:])); got != n+1+1+mpLines+1 {
		t.Errorf("%d entries counted for %d processors", got, n)
	}
}

func TestCmdline(t *testing.T) {
	elf := elfFile(0x3000, 1<<20, phdr{elfLoad, 0x1000, 1 << 20, 0x1000, 0x1000})
	for _, c := range []struct {
		kernel []byte
		n      int
		ok     bool
	}{
		{elf, 0, true},
		{elf, cmdlineMax - 1, true},
		{elf, cmdlineMax, false},
		{with(bzFile(0x8000), hdrCmdlineSize, uint32(255)), 255, true},
		{with(bzFile(0x8000), hdrCmdlineSize, uint32(255)), 256, false},
		{with(bzFile(0x8000), hdrCmdlineSize, ^uint32(0)), cmdlineMax - 1, true},
		{with(bzFile(0x8000), hdrCmdlineSize, ^uint32(0)), cmdlineMax, false},
	} {
		mem, ranges := ram(t, 16<<20)
		line := strings.Repeat("x", c.n)
		stale, _ := mem.Slice(cmdlineAddr, cmdlineMax+1)
		for i := range stale {
			stale[i] = 0xee
		}
		_, err := Load(mem, Config{Kernel: bytes.NewReader(c.kernel), Cmdline: line, VCPUs: 1, RAM: ranges})
		if (err == nil) != c.ok {
			t.Errorf("%d bytes: %v, want ok %v", c.n, err, c.ok)
		}
		if c.ok && string(stale[:c.n+1]) != line+"\x00" {
			t.Errorf("%d bytes: they are not there, or do not end", c.n)
		}
	}
}
