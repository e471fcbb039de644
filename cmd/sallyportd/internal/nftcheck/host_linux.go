package nftcheck

import (
	"net"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// addresses are the addresses of this host that are not loopback, and whether it
// forwards packets.
type addresses struct {
	list     []netip.Addr
	forwards map[byte]bool // by the family
	outside  map[byte][]outside
}

// outside is an interface on which strangers' packets come in.
type outside struct {
	anInterface
	list []netip.Addr // its addresses
}

// maxAddresses is how many addresses of a family are judged one by one.
const maxAddresses = 32

// thisHost reads the addresses from the kernel; those that it cannot read are
// missing. If it cannot read whether the host forwards, it assumes so.
func thisHost() addresses {
	a := addresses{forwards: map[byte]bool{
		unix.NFPROTO_IPV4: isOn("/proc/sys/net/ipv4/ip_forward"),
		unix.NFPROTO_IPV6: isOn("/proc/sys/net/ipv6/conf/all/forwarding"),
	}}
	a.outside = map[byte][]outside{
		unix.NFPROTO_IPV4: outsideOf(unix.NFPROTO_IPV4), unix.NFPROTO_IPV6: outsideOf(unix.NFPROTO_IPV6),
	}
	found, _ := net.InterfaceAddrs()
	for _, x := range found {
		if p, err := netip.ParsePrefix(x.String()); err == nil && !p.Addr().IsLoopback() {
			a.list = append(a.list, p.Addr().Unmap().WithZone(""))
		}
	}
	return a
}

// outsideOf returns the interfaces of the default routes of a family or, without
// such a route, all that have an address for other networks than the link.
func outsideOf(family byte) (routed []outside) {
	interfaces, _ := net.Interfaces()
	var all []outside
	defaults := defaultRoutes(family)
	for _, i := range interfaces {
		if i.Flags&net.FlagLoopback != 0 || i.Flags&net.FlagUp == 0 {
			continue
		}
		o := outside{anInterface: anInterface{i.Name, uint32(i.Index)}}
		found, _ := i.Addrs()
		for _, x := range found {
			p, err := netip.ParsePrefix(x.String())
			if a := p.Addr().Unmap().WithZone(""); err == nil && familyOf(a) == family && !a.IsLinkLocalUnicast() {
				o.list = append(o.list, a)
			}
		}
		if len(o.list) > 0 {
			all = append(all, o)
			if defaults[i.Name] {
				routed = append(routed, o)
			}
		}
	}
	if len(routed) == 0 {
		return all
	}
	return routed
}

// defaultRoutes returns the names of the interfaces with a default route.
func defaultRoutes(family byte) map[string]bool {
	path, nameAt, zeroAt := "/proc/thread-self/net/route", 0, []int{1, 7}
	if family == unix.NFPROTO_IPV6 {
		path, nameAt, zeroAt = "/proc/thread-self/net/ipv6_route", 9, []int{0, 1}
	}
	names := map[string]bool{}
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) > 9 && strings.Trim(f[zeroAt[0]], "0") == "" && strings.Trim(f[zeroAt[1]], "0") == "" {
			names[f[nameAt]] = true
		}
	}
	return names
}

func isOn(path string) bool {
	text, err := os.ReadFile(path)
	return err != nil || strings.TrimSpace(string(text)) != "0"
}

// has reports whether an address is one of the host's.
func (a addresses) has(x netip.Addr) bool {
	for _, own := range a.list {
		if own == x {
			return true
		}
	}
	return x.IsLoopback() || x.IsUnspecified()
}

func familyOf(a netip.Addr) byte {
	if a.Is4() {
		return unix.NFPROTO_IPV4
	}
	return unix.NFPROTO_IPV6
}

// packets returns packets from strangers to the host: to one of its addresses
// or, if that is invalid, to all of a family or of both.
func (a addresses) packets(p packet, at netip.Addr, v4, v6 bool) (to []packet) {
	p.local, p.stranger = true, true
	if at.IsValid() {
		// An address that the host does not have may be another host's, or the host
		// may get it later.
		p.family, p.address, p.local = familyOf(at), at, a.has(at)
		return []packet{p}
	}
	for _, family := range []byte{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		if family == unix.NFPROTO_IPV4 && !v4 || family == unix.NFPROTO_IPV6 && !v6 {
			continue
		}
		n := 0
		for _, x := range a.list {
			if n < maxAddresses && familyOf(x) == family {
				p.family, p.address = family, x
				to, n = append(to, p), n+1
			}
		}
		if n == 0 || n == maxAddresses { // the host may have other addresses
			p.family, p.address = family, netip.Addr{}
			to = append(to, p)
		}
	}
	return to
}
