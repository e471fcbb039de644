package xdp

import (
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// ArrayNames are the names of the arrays that the server gets, in the order in which a
// message has their descriptors.
var ArrayNames = []string{
	"settings", "ports", "rows", "identifiers", "filter", "counters", "control", "records", "shares", "wake",
}

// open makes the files of the arrays.
func (p *Program) open() error {
	p.files = make(map[string]*os.File, len(p.arrays))
	for name, m := range p.arrays {
		fd, err := unix.FcntlInt(uintptr(m.FD()), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			return fmt.Errorf("duplicate the descriptor of the array %s: %w", name, os.NewSyscallError("fcntl", err))
		}
		p.files[name] = os.NewFile(uintptr(fd), "shield "+name)
	}
	return nil
}

// Files returns the descriptors of the arrays, for the server, by the names in
// ArrayNames. They belong to the program, and are valid until Close.
func (p *Program) Files() map[string]*os.File { return p.files }

// The names of Descriptors that are not in ArrayNames.
const (
	descriptorAddresses = "addresses"
	descriptorHost      = "host"
	descriptorNative    = "native"
	descriptorGeneric   = "generic"
)

// Descriptors returns all descriptors of the program, for a process that drops
// privileges by execve after Load (see FromDescriptors). They belong to the program, and
// are closed on execve.
func (p *Program) Descriptors() map[string]int {
	all := map[string]int{
		descriptorAddresses: p.addresses.FD(), descriptorHost: p.host.FD(),
		descriptorNative: p.native.FD(), descriptorGeneric: p.generic.FD(),
	}
	for name, m := range p.arrays {
		all[name] = m.FD()
	}
	return all
}

// FromDescriptors returns the program that another process, or this one before execve,
// has loaded. It owns the descriptors, also after an error. To attach, it requires
// CAP_NET_ADMIN.
func FromDescriptors(all map[string]int) (*Program, error) {
	c := &ebpf.Collection{Programs: map[string]*ebpf.Program{}, Maps: map[string]*ebpf.Map{}}
	var failed error
	fail := func(name string, err error) {
		if err != nil && failed == nil {
			failed = fmt.Errorf("take over the shield's %s: %w", name, err)
		}
	}
	for name, fd := range all {
		switch name {
		case descriptorNative, descriptorGeneric:
			program, err := ebpf.NewProgramFromFD(fd)
			if err != nil {
				fail(name, err)
				continue
			}
			info, err := program.Info()
			fail(name, err)
			if err == nil {
				name = info.Name
			}
			c.Programs[name] = program
		case descriptorHost:
			m, err := ebpf.NewMapFromFD(fd)
			fail(name, err)
			c.Maps[hostData] = m
		default:
			m, err := ebpf.NewMapFromFD(fd)
			fail(name, err)
			c.Maps[name] = m
		}
	}
	for _, name := range append([]string{descriptorAddresses, hostData}, ArrayNames...) {
		if c.Maps[name] == nil {
			fail(name, os.ErrNotExist)
		}
	}
	if len(c.Programs) != 2 {
		fail("programs", os.ErrNotExist)
	}
	if failed != nil {
		c.Close()
		return nil, failed
	}
	p, err := newProgram(c)
	if err == nil {
		err = p.recall()
	}
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("take over the shield: %w", err)
	}
	return p, nil
}

// recall reads which addresses are set.
func (p *Program) recall() error {
	var k key
	var v uint32
	entries := p.addresses.Iterate()
	for entries.Next(&k, &v) {
		p.present[k] = true
	}
	return entries.Err()
}
