package pvm

import (
	"encoding/binary"
	"errors"
	"fmt"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
)

// structPage is the size of the guest kernel's struct page.
const structPage = 64

// memmap fills RCX struct pages at the linear address RDI, which lie one after
// another, with that at RSI, but for the list head at offset RDX in it, which
// each has pointing to itself.
func (s space) memmap(regs *gokvm.Regs) error {
	if regs.RCX > s.ram.Size()/pageSize || regs.RDX > structPage-16 {
		return fmt.Errorf("kvm-pvm: the guest's memmap call: %d pages, list head at %d", regs.RCX, regs.RDX)
	}
	var page [structPage]byte
	from, err := s.whole(regs.RSI, len(page), false)
	if err != nil {
		return err
	}
	from.readAt(page[:], 0)
	head := page[regs.RDX:][:16]
	for at, left := regs.RDI, regs.RCX; left > 0; {
		n := min(left, (pageSize-at%pageSize)/structPage)
		if n == 0 {
			return errors.New("kvm-pvm: the guest's memmap call: a struct page across two pages")
		}
		to, err := s.whole(at, int(n)*structPage, true)
		if err != nil {
			return err
		}
		for i := range int(n) {
			binary.LittleEndian.PutUint64(head, at+regs.RDX)
			binary.LittleEndian.PutUint64(head[8:], at+regs.RDX)
			to.writeAt(page[:], i*structPage)
			at += structPage
		}
		left -= n
	}
	return nil
}

// whole is a span that must be there: the kernel's own memory.
func (s space) whole(linear uint64, n int, write bool) (span, error) {
	sp, fault, err := s.span(linear, n, write)
	if err == nil && fault != nil {
		err = fmt.Errorf("page fault %#x at %#x", fault.code, fault.linear)
	}
	if err != nil {
		return nil, fmt.Errorf("kvm-pvm: the guest's memmap call, %d bytes at %#x: %w", n, linear, err)
	}
	return sp, nil
}
