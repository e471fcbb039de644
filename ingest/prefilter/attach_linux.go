package prefilter

import (
	"os"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Attach has a UDP socket refuse what a program refuses. The kernel puts it in
// the place of an earlier one without a gap, and needs no privilege for it.
// ENOMEM: there is no room for both within net.core.optmem_max.
func Attach(fd int, program []bpf.Instruction) error {
	return AttachRaw(fd, Assemble(program))
}

// AttachRaw is Attach for a program that was assembled already.
func AttachRaw(fd int, program []bpf.RawInstruction) error {
	return attach(fd, unix.SO_ATTACH_FILTER, "SO_ATTACH_FILTER", program)
}

// Detach takes the filter off. One that is not there is no error.
func Detach(fd int) { unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) }

// Attach has the sockets that share an address with this one divide datagrams
// as the program says, by the order in which they were bound. Where there is
// no such socket (yet), the kernel chooses.
func (s Steer) Attach(fd int) error {
	return attach(fd, unix.SO_ATTACH_REUSEPORT_CBPF, "SO_ATTACH_REUSEPORT_CBPF", Assemble(s.Program()))
}

func attach(fd, option int, name string, program []bpf.RawInstruction) error {
	filter := make([]unix.SockFilter, len(program))
	for i, r := range program {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, option, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	return os.NewSyscallError("setsockopt "+name, err)
}
