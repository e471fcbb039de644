package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/gate/access"
)

// sourcePorts is the range from which the kernel takes the source port of a
// connection that this host opens.
type sourcePorts struct {
	first, last uint64
	reserved    string // ports that the kernel does not take: "8080,9000-9010"
}

// readSourcePorts reads the kernel's range, which holds for IPv4 and IPv6; zero:
// it is unknown.
func readSourcePorts() (p sourcePorts) {
	text, _ := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if f := strings.Fields(string(text)); len(f) == 2 {
		p.first, _ = strconv.ParseUint(f[0], 10, 16)
		p.last, _ = strconv.ParseUint(f[1], 10, 16)
	}
	text, _ = os.ReadFile("/proc/sys/net/ipv4/ip_local_reserved_ports")
	p.reserved = strings.TrimSpace(string(text))
	return p
}

// takes reports whether the kernel may take a port as a source port.
func (p sourcePorts) takes(port uint16) bool {
	n := uint64(port)
	if n < p.first || n > p.last {
		return false
	}
	for part := range strings.SplitSeq(p.reserved, ",") {
		first, last, several := strings.Cut(part, "-")
		if !several {
			last = first
		}
		low, err1 := strconv.ParseUint(first, 10, 16)
		high, err2 := strconv.ParseUint(last, 10, 16)
		if err1 == nil && err2 == nil && low <= n && n <= high {
			return false
		}
	}
	return true
}

// takesOf returns how many of the ports the kernel may take.
func (p sourcePorts) takesOf(ports access.Ports) (n int) {
	for port := int(ports.First); port <= int(ports.Last); port++ {
		if p.takes(uint16(port)) {
			n++
		}
	}
	return n
}

// checkDrawnSourcePorts warns about services whose drawn ports the kernel may take for
// a connection that this host opens.
func checkDrawnSourcePorts(cfg *config.Config, p sourcePorts) (found []finding) {
	for i := range cfg.Services {
		s := &cfg.Services[i]
		drawn := s.Drawn()
		taken := 0
		for _, r := range drawn.Ranges() {
			taken += p.takesOf(access.Ports(r))
		}
		if taken == 0 {
			continue
		}
		effect := "then the server uses the next of the minute's candidates"
		if s.UDP {
			effect += ", and a client, which uses the first, gets in a minute later"
		}
		found = append(found, warn("drawn-source-ports", "choose rotate_ports outside of that range; then give the clients new profiles",
			"service %s: this host may use %d of the %d ports of rotate_ports = %q as the source port of a connection (net.ipv4.ip_local_port_range is %d to %d): %s",
			s.Name, taken, drawn.Free(), drawn.Range, p.first, p.last, effect))
	}
	return found
}

// checkSourcePorts warns about services whose port, or whose program's port, the kernel
// may take for a connection that this host opens. Firewall: there is a table of the
// firewall.
func checkSourcePorts(cfg *config.Config, firewall bool, p sourcePorts) (found []finding) {
	var ports []string
	var all []access.Ports
	for i := range cfg.Services {
		s := &cfg.Services[i]
		add := func(of []access.Ports, effect string) {
			taken := slices.DeleteFunc(of, func(r access.Ports) bool { return p.takesOf(r) == 0 })
			if len(taken) == 0 {
				return
			}
			which := strings.Trim(strings.ReplaceAll(fmt.Sprint(taken), " ", ","), "[]")
			ports, all = append(ports, which), append(all, taken...)
			found = append(found, warn("source-port-range", "", "service %s: this host may use port %s as the source port of a connection (net.ipv4.ip_local_port_range is %d to %d): %s",
				s.Name, which, p.first, p.last, effect))
		}
		effect := "the service then cannot listen"
		if !s.Binds() {
			effect = "the program behind the firewall then cannot listen"
		}
		// In every other case the table recognises the connection, and accepts the answers.
		if firewall && s.UDP && s.Policy.Cut {
			effect += ", and answers to that connection are dropped"
		}
		add(s.Ports(), effect)
		if port := s.ProgramPort(); port != 0 {
			add([]access.Ports{{First: port, Last: port}}, "the program then cannot listen")
		}
		if port := s.Via(); port != 0 {
			add([]access.Ports{{First: port, Last: port}}, "the server then cannot listen before the program")
		}
	}
	for i := range found {
		if !p.canReserve(all) {
			found[i].Hint = "choose fewer ports, or ports outside of that range: if so many were reserved, this host could hardly open connections"
			continue
		}
		found[i].Hint = fmt.Sprintf("\"sysctl -w net.ipv4.ip_local_reserved_ports=%s\" reserves the ports of the services; a file in /etc/sysctl.d also does after the next boot",
			strings.Join(p.withReserved(ports), ","))
	}
	return found
}

// canReserve reports whether the kernel would still have half of its source ports if
// more were reserved.
func (p sourcePorts) canReserve(more []access.Ports) bool {
	free := uint64(0)
	for n := p.first; n <= p.last; n++ {
		if p.takes(uint16(n)) && !access.AnyHas(more, uint16(n)) {
			free++
		}
	}
	return 2*free >= p.last-p.first+1
}

// withReserved returns the ports that are reserved already, and more.
func (p sourcePorts) withReserved(more []string) []string {
	if p.reserved == "" {
		return more
	}
	return append([]string{p.reserved}, more...)
}
