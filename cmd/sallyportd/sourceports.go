package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"sallyport/cmd/sallyportd/internal/config"
)

// sourcePorts are those from which the kernel takes one for a connection that
// this host begins.
type sourcePorts struct {
	first, last uint64
	reserved    string // of them, those that it leaves alone: "8080,9000-9010"
}

// readSourcePorts asks the kernel, for IPv4 and IPv6 together; zero: unknown.
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

// takes reports whether the kernel may take a port.
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

// checkSourcePorts warns of services whose port the kernel may give to a
// connection that this host begins.
func checkSourcePorts(cfg *config.Config, guarded bool, p sourcePorts) (warnings []string) {
	var ports []string
	for i := range cfg.Services {
		s := &cfg.Services[i]
		if !p.takes(s.Port()) {
			continue
		}
		what := "the service then cannot listen"
		if !s.Binds() {
			what = "the program behind the guard then cannot listen"
		}
		if guarded && s.UDP && s.Terms.Cut { // else the guard knows what the host began
			what += ", and answers to that connection are dropped"
		}
		ports = append(ports, fmt.Sprint(s.Port()))
		warnings = append(warnings, fmt.Sprintf("service %s: this host may give port %d to a connection of its own (net.ipv4.ip_local_port_range is %d to %d): %s", s.Name, s.Port(), p.first, p.last, what))
	}
	for i := range warnings {
		warnings[i] += fmt.Sprintf("; \"sysctl -w net.ipv4.ip_local_reserved_ports=%s\" keeps them for the services, and a file in /etc/sysctl.d after the next boot as well", strings.Join(p.kept(ports), ","))
	}
	return warnings
}

// kept are what is reserved already, and more.
func (p sourcePorts) kept(more []string) []string {
	if p.reserved == "" {
		return more
	}
	return append([]string{p.reserved}, more...)
}
