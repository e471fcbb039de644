package xdp

import (
	"fmt"
	"os"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Reset clears the arrays for another server, without bpf(2): a process that has dropped
// the privilege to load passes the same program to one server after another. It must be
// attached nowhere. The geometry and the seeds stay.
func (p *Program) Reset() error {
	for name, m := range p.arrays {
		if m.Type() != ebpf.Array {
			continue // the ring buffer that wakes the reader has no state
		}
		// The kernel rounds each value up to 8 bytes.
		size := int(m.MaxEntries()) * int((m.ValueSize()+7)&^7)
		page := os.Getpagesize()
		memory, err := unix.Mmap(m.FD(), 0, (size+page-1)&^(page-1), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return fmt.Errorf("clear the array %s of the shield: %w", name, os.NewSyscallError("mmap", err))
		}
		var keep Settings
		s := (*Settings)(unsafe.Pointer(&memory[0]))
		if name == "settings" {
			keep.Seeds, keep.Processors, keep.Slots, keep.Buckets = s.Seeds, s.Processors, s.Slots, s.Buckets
		}
		clear(memory)
		if name == "settings" {
			s.Seeds, s.Processors, s.Slots, s.Buckets = keep.Seeds, keep.Processors, keep.Slots, keep.Buckets
		}
		unix.Munmap(memory)
	}
	return nil
}
