package heldport

import (
	"cmp"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Receiver is a UDP port of this host at which a socket receives datagrams from
// any source, at an address other than the loopback.
type Receiver struct {
	Port uint16
	By   string // the program, as far as the kernel and /proc show it
}

// Receivers returns the UDP ports at which sockets receive, in order. Sockets of
// the kernel are among them, such as those of WireGuard and VXLAN; sockets that
// are connected to one source are not.
func Receivers() ([]Receiver, error) {
	by := map[uint16]boundSocket{}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		sockets, err := dump(family, unix.IPPROTO_UDP, 1<<closed)
		if err != nil {
			return nil, fmt.Errorf("list the UDP sockets: %w", err)
		}
		for _, s := range sockets {
			if !s.addr.Addr().IsLoopback() {
				by[s.addr.Port()] = s
			}
		}
	}
	programs, complete := programs()
	all := make([]Receiver, 0, len(by))
	for port, s := range by {
		name := programs[s.inode]
		switch {
		case name != "":
		case s.uid == 0 && complete:
			name = "the kernel, such as WireGuard or VXLAN"
		case s.uid == 0:
			name = "the kernel, such as WireGuard or VXLAN, or a program of root"
		default:
			name = fmt.Sprintf("a program of user ID %d", s.uid)
		}
		all = append(all, Receiver{port, name})
	}
	slices.SortFunc(all, func(a, b Receiver) int { return cmp.Compare(a.Port, b.Port) })
	return all, nil
}

// initialPIDs is the namespace in which all processes of a host are visible
// (PROC_PID_INIT_INO of the kernel).
const initialPIDs = "pid:[4026531836]"

// programs returns the process of each socket that this process may read.
// Complete: it may read those of all processes.
func programs() (of map[uint32]string, complete bool) {
	of = map[uint32]string{}
	complete = eachSocket(func(inode uint32, process string) bool {
		if of[inode] == "" {
			of[inode] = describeProcess(process)
		}
		return true
	})
	namespace, err := os.Readlink("/proc/self/ns/pid")
	return of, complete && err == nil && namespace == initialPIDs
}
