package heldport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The states of sockets that prevent others from using a port, as in
// sock_diag(7): TCP_LISTEN, and TCP_BOUND_INACTIVE (since Linux 6.8), which
// /proc/net/tcp does not show; for UDP TCP_CLOSE and TCP_ESTABLISHED.
const (
	established   = 1
	closed        = 7
	listening     = 10
	boundInactive = 13

	diagRequestSize = 56
	diagMessageSize = 72
)

// users names the sockets that prevent others from using a port, as far as the
// kernel and /proc show them: at most three.
func users(network string, addr netip.AddrPort) string {
	protocol, states := unix.IPPROTO_TCP, 1<<listening|1<<boundInactive
	if network == "udp" {
		protocol, states = unix.IPPROTO_UDP, 1<<closed|1<<established
	}
	var found []string
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		sockets, err := dump(family, protocol, uint32(states))
		if err != nil {
			continue
		}
		for _, s := range sockets {
			if s.blocks(addr) && len(found) < 3 {
				found = append(found, s.String())
			}
		}
	}
	return strings.Join(found, "; ")
}

// boundSocket is a socket and its user.
type boundSocket struct {
	addr       netip.AddrPort
	uid, inode uint32
}

// blocks reports whether a socket prevents others from using an address. For an
// unspecified IPv6 address it is unknown whether it includes IPv4: blocks
// assumes so, which is the default.
func (s boundSocket) blocks(addr netip.AddrPort) bool {
	a, b := addr.Addr().WithZone(""), s.addr.Addr()
	switch {
	case addr.Port() != s.addr.Port():
		return false
	case b.IsUnspecified():
		return b.Is6() || a.Is4() || a.IsUnspecified()
	}
	return a.IsUnspecified() || a == b
}

func (s boundSocket) String() string {
	if name := program(s.inode); name != "" {
		return fmt.Sprintf("%s of user ID %d", name, s.uid)
	}
	return fmt.Sprintf("a program of user ID %d", s.uid)
}

// dump returns the sockets of a family (inet_diag).
func dump(family, protocol int, states uint32) (all []boundSocket, err error) {
	c, err := netlink.Dial(unix.NETLINK_INET_DIAG, nil)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	request := make([]byte, diagRequestSize)
	request[0], request[1] = byte(family), byte(protocol)
	binary.NativeEndian.PutUint32(request[4:], states)
	replies, err := c.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.SOCK_DIAG_BY_FAMILY, Flags: netlink.Request | netlink.Dump},
		Data:   request,
	})
	if err != nil {
		return nil, err
	}
	for _, m := range replies {
		if len(m.Data) >= diagMessageSize {
			a := netip.AddrFrom4([4]byte(m.Data[8:]))
			if m.Data[0] == unix.AF_INET6 {
				a = netip.AddrFrom16([16]byte(m.Data[8:])).Unmap()
			}
			all = append(all, boundSocket{
				addr: netip.AddrPortFrom(a, binary.BigEndian.Uint16(m.Data[4:])),
				uid:  binary.NativeEndian.Uint32(m.Data[64:]), inode: binary.NativeEndian.Uint32(m.Data[68:]),
			})
		}
	}
	return all, nil
}

// program returns the process that has a socket, if this process may read it.
func program(inode uint32) (name string) {
	eachSocket(func(of uint32, process string) bool {
		if of == inode {
			name = describeProcess(process)
		}
		return of != inode
	})
	return name
}

// eachSocket calls visit with each open socket that this process may see, and the
// directory of its process in /proc, until visit returns false. Complete: this process
// may see the sockets of all processes in /proc.
func eachSocket(visit func(inode uint32, process string) bool) (complete bool) {
	dirs, err := filepath.Glob("/proc/[0-9]*/fd")
	complete = err == nil && len(dirs) > 0
	for _, dir := range dirs {
		links, err := os.ReadDir(dir)
		complete = complete && !errors.Is(err, fs.ErrPermission)
		for _, link := range links {
			var inode uint32
			to, err := os.Readlink(filepath.Join(dir, link.Name()))
			complete = complete && !errors.Is(err, fs.ErrPermission)
			n, _ := fmt.Sscanf(to, "socket:[%d]", &inode)
			if n == 1 && !visit(inode, filepath.Dir(dir)) {
				return complete
			}
		}
	}
	return complete
}

// describeProcess returns the name and the number of a process, by its directory.
func describeProcess(dir string) string {
	name, _ := os.ReadFile(dir + "/comm")
	return fmt.Sprintf("%q (process %s)", strings.TrimSpace(string(name)), filepath.Base(dir))
}
