package prefilter

import (
	"fmt"
	"os"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Attach has a UDP socket refuse what a program refuses. The kernel puts it in
// the place of an earlier one without a gap, and needs no privilege for it.
// ENOMEM: the program is larger than net.core.optmem_max allows.
func Attach(fd int, program []bpf.Instruction) error {
	return attach(fd, unix.SO_ATTACH_FILTER, "SO_ATTACH_FILTER", program)
}

// Detach takes the filter off. One that is not there is no error.
func Detach(fd int) { unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) }

// Attach has the sockets that share an address with this one divide datagrams
// as the program says, by the order in which they were bound. Where there is
// no such socket (yet), the kernel chooses.
func (s Steer) Attach(fd int) error {
	return attach(fd, unix.SO_ATTACH_REUSEPORT_CBPF, "SO_ATTACH_REUSEPORT_CBPF", s.Program())
}

func attach(fd, option int, name string, program []bpf.Instruction) error {
	raw, err := bpf.Assemble(program)
	if err != nil {
		return fmt.Errorf("assemble a filter: %w", err)
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, option, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	return os.NewSyscallError("setsockopt "+name, err)
}
