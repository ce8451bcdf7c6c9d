package boot

import (
	"bytes"
	"testing"
)

// FuzzELF loads files that begin like an x86-64 vmlinux.
func FuzzELF(f *testing.F) {
	head := elfFile(elfHeaderSize, 0)
	f.Fuzz(func(t *testing.T, file []byte) {
		copy(file, head[:elfData+1])
		load(t, file)
	})
}

// FuzzBzImage loads files that begin like a bzImage.
func FuzzBzImage(f *testing.F) {
	f.Fuzz(func(t *testing.T, file []byte) {
		if len(file) >= hdrEnd {
			with(with(file, hdrBootFlag, uint16(bootFlag)), hdrMagic, []byte(headerMagic))
		}
		load(t, file)
	})
}

// load checks that a file is refused, or lies in RAM and nowhere else.
func load(t *testing.T, file []byte) {
	const size = 4 << 20
	mem, ranges := ram(t, size)
	initrd := []byte("initramfs")
	f := bytes.NewReader(file)
	entry, err := Load(mem, Config{Kernel: f, Initrd: bytes.NewReader(initrd), Cmdline: "quiet", VCPUs: 1, RAM: ranges})
	if err != nil {
		return
	}
	img, err := parseKernel(f)
	if err != nil {
		t.Fatalf("loaded, but now: %v", err)
	}
	if entry != img.entry || entry < highStart || entry >= img.end || img.end > size {
		t.Fatalf("entry %#x, end %#x", entry, img.end)
	}
	loaded(t, mem, cmdlineAddr, []byte("quiet\x00"))
	loaded(t, mem, mpFloatAddr, mpFloat())
	for _, s := range img.segments {
		if s.gpa < highStart || s.gpa+s.room > img.end || s.size > s.room {
			t.Errorf("segment %+v with the kernel's end at %#x", s, img.end)
		}
		loaded(t, mem, s.gpa, file[s.off:][:s.size])
	}
}
