package prefilter

import (
	"os"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Attach sets the filter of a UDP socket. The kernel replaces an earlier filter
// without a gap, and requires no privilege. ENOMEM: there is no room for both
// filters within net.core.optmem_max.
func Attach(fd int, program []bpf.Instruction) error {
	return AttachRaw(fd, Assemble(program))
}

// AttachRaw is Attach for an assembled program.
func AttachRaw(fd int, program []bpf.RawInstruction) error {
	return attach(fd, unix.SO_ATTACH_FILTER, "SO_ATTACH_FILTER", program)
}

// Detach removes the filter of a socket, if it has one.
func Detach(fd int) { unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) }

// Attach sets the program that steers datagrams among the sockets that share an
// address with this one. It numbers them in the order in which they were bound.
// If the number has no socket (yet), the kernel chooses one.
func (s Steer) Attach(fd int) error {
	return attach(fd, unix.SO_ATTACH_REUSEPORT_CBPF, "SO_ATTACH_REUSEPORT_CBPF", Assemble(s.Program()))
}

func attach(fd, option int, name string, program []bpf.RawInstruction) error {
	filter := make([]unix.SockFilter, len(program))
	for i, r := range program {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	f := &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, option, f)
	return os.NewSyscallError("setsockopt "+name, err)
}
