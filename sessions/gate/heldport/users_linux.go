package heldport

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The states of sockets that keep a port from others, as sock_diag(7) has them:
// TCP_LISTEN, and TCP_BOUND_INACTIVE (since Linux 6.8), which /proc/net/tcp does
// not show; of UDP TCP_CLOSE and TCP_ESTABLISHED.
const (
	established   = 1
	closed        = 7
	listening     = 10
	boundInactive = 13

	diagRequestSize = 56
	diagMessageSize = 72
)

// users names the sockets that keep a port from others, as far as the kernel and
// /proc tell: at most three.
func users(network string, at netip.AddrPort) string {
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
			if s.keeps(at) && len(found) < 3 {
				found = append(found, s.String())
			}
		}
	}
	return strings.Join(found, "; ")
}

// user is a socket, and whose it is.
type user struct {
	at         netip.AddrPort
	uid, inode uint32
}

// keeps reports whether a socket keeps an address from others. Of an unspecified
// IPv6 address it is not known whether it stands for IPv4 too: it does, by
// default.
func (u user) keeps(at netip.AddrPort) bool {
	a, b := at.Addr().WithZone(""), u.at.Addr()
	switch {
	case at.Port() != u.at.Port():
		return false
	case b.IsUnspecified():
		return b.Is6() || a.Is4() || a.IsUnspecified()
	}
	return a.IsUnspecified() || a == b
}

func (u user) String() string {
	if name := program(u.inode); name != "" {
		return fmt.Sprintf("%s of user ID %d", name, u.uid)
	}
	return fmt.Sprintf("a program of user ID %d", u.uid)
}

// dump lists sockets of a family (inet_diag).
func dump(family, protocol int, states uint32) (all []user, err error) {
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
			all = append(all, user{
				at:  netip.AddrPortFrom(a, binary.BigEndian.Uint16(m.Data[4:])),
				uid: binary.NativeEndian.Uint32(m.Data[64:]), inode: binary.NativeEndian.Uint32(m.Data[68:]),
			})
		}
	}
	return all, nil
}

// program finds the process that has a socket, if this one may look.
func program(inode uint32) string {
	want := "socket:[" + strconv.FormatUint(uint64(inode), 10) + "]"
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		if to, err := os.Readlink(link); err != nil || to != want {
			continue
		}
		dir := filepath.Dir(filepath.Dir(link))
		name, _ := os.ReadFile(dir + "/comm")
		return fmt.Sprintf("%q (process %s)", strings.TrimSpace(string(name)), filepath.Base(dir))
	}
	return ""
}
