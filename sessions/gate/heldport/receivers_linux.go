package heldport

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

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
	namespace, err := os.Readlink("/proc/self/ns/pid")
	complete = err == nil && namespace == initialPIDs
	dirs, err := filepath.Glob("/proc/[0-9]*/fd")
	complete = complete && err == nil && len(dirs) > 0
	for _, dir := range dirs {
		links, err := os.ReadDir(dir)
		complete = complete && (err == nil || !errors.Is(err, fs.ErrPermission))
		for _, link := range links {
			var inode uint32
			to, err := os.Readlink(filepath.Join(dir, link.Name()))
			complete = complete && (err == nil || !errors.Is(err, fs.ErrPermission))
			if n, _ := fmt.Sscanf(to, "socket:[%d]", &inode); n != 1 || of[inode] != "" {
				continue
			}
			process := filepath.Dir(dir)
			name, _ := os.ReadFile(process + "/comm")
			of[inode] = fmt.Sprintf("%q (process %s)", strings.TrimSpace(string(name)), filepath.Base(process))
		}
	}
	return of, complete
}
