package config

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"sallyport/cmd/internal/tomlfile"
	"sallyport/sessions/client"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
	"sallyport/sessions/gate/program"
	"sallyport/sessions/gate/relay"
)

// rawProcess has the keys of services of type "process".
type rawProcess struct {
	Program     []string `toml:"program" kinds:"process" reload:"restart" expect:"the absolute path of a server program and its arguments, such as [\"/usr/sbin/nginx\", \"-g\", \"daemon off;\"]"`
	ProgramUser string   `toml:"program_user" kinds:"process" reload:"restart" expect:"the name or number of the user that the program runs as, neither root nor the server's user"`
	StartWithin string   `toml:"start_within" default:"10s" range:"100ms..10m" kinds:"process" reload:"restart" expect:"a duration from \"100ms\" to \"10m\""`
}

const (
	// inherit is the upstream of a program that inherits a listening socket.
	inherit = "inherit"
	// maxUnixPath is the longest path, in bytes, at which a program can make a socket.
	maxUnixPath = 107
)

// process is a server program that runs while the service has leases, behind a
// listener of this process.
type process struct {
	listener
	to          string // a loopback address and port, unix:/PATH, or inherit
	proxyHeader bool   // the PROXY protocol sends the client's address to the program
	within      time.Duration
}

func readProcess(r *rawService, f *tomlfile.File, at, _ string, s *Service) (kind, error) {
	if len(r.Program) == 0 && !f.Has(at+"program") {
		return nil, f.Errorf(at+"program", "got nothing")
	}
	p, err := r.program(f, at, at+"program", program.ID{Service: s.Name, Role: program.Server}, r.Program)
	if err != nil {
		return nil, err
	}
	if err := checkUser(f, at+"program_user", r.ProgramUser); err != nil {
		return nil, err
	}
	if fault := processUpstreamFault(r.Upstream, s.UDP); fault != "" {
		return nil, f.Errorf(at+"upstream", "got %s", fault)
	}
	if r.ProxyProtocol && s.UDP {
		return nil, f.Errorf(at+"proxy_protocol", "got true for UDP")
	}
	p.User, p.Inherits = r.ProgramUser, r.Upstream == inherit
	s.programs = append([]program.Program{p}, s.programs...)
	return process{to: r.Upstream, proxyHeader: r.ProxyProtocol, within: duration(r.StartWithin)}, nil
}

// processUpstreamFault returns what is wrong with the upstream of a process; empty:
// nothing is. Strangers must not reach it without the gate.
func processUpstreamFault(text string, udp bool) string {
	to, err := relay.ParseUpstream(text)
	host, _, _ := net.SplitHostPort(text)
	a, notAddress := netip.ParseAddr(host)
	switch {
	case text == "":
		return "nothing"
	case udp && (to.Unix() != "" || text == inherit):
		return fmt.Sprintf("%q for UDP, which requires an address and port", text)
	case text == inherit:
		return ""
	case len(to.Unix()) > maxUnixPath:
		return fmt.Sprintf("%q, whose path has %d bytes; at most %d are possible", text, len(to.Unix()), maxUnixPath)
	case to.Unix() != "":
		return ""
	case strings.HasPrefix(text, "unix:") && err != nil:
		return unixFault(text)
	case err == nil && notAddress != nil:
		return fmt.Sprintf("%q: the host must be an address, such as 127.0.0.1", text)
	case err != nil:
		return fmt.Sprintf("%q", text)
	case !a.Unmap().IsLoopback():
		return fmt.Sprintf("%q: strangers could reach the program at this address without the gate", text)
	}
	return ""
}

func (p process) describe(s *Service) string {
	of := s.Program(program.Server)
	at := p.to
	if at == inherit {
		at = "a socket that it inherits"
	}
	return fmt.Sprintf("%s proxy to %s at %s, which runs as %s while there are leases", s.Protocol(), of.Args[0], at, of.User)
}

// upstream is not for other services: no loop leads through it, because no service may
// listen at the program's port.
func (process) upstream() string { return "" }

// fixed: the runner knows whether the program inherits a socket, and its own configuration
// decides where it listens.
func (p process) fixed() (key, value string) { return "upstream", p.to }

func (process) missing() fault { return fault{} }

// ProgramUpstream returns where the program of a service of type "process" listens;
// empty: it inherits a socket, or there is no such program.
func (s *Service) ProgramUpstream() relay.Upstream {
	if p, ok := s.kind.(process); ok && p.to != inherit {
		return relay.Upstream(p.to)
	}
	return ""
}

// loopback returns where the program listens on the loopback; false: it does not.
func (p process) loopback() (at firewall.At, ok bool) {
	host, port, err := client.SplitService(p.to)
	a, err2 := netip.ParseAddr(host)
	if err != nil || err2 != nil {
		return at, false
	}
	return firewall.At{Address: a.Unmap(), Ports: access.Ports{First: port, Last: port}}, true
}

// ProgramPort returns the loopback port of the program of a service of type "process";
// 0: it has none.
func (s *Service) ProgramPort() uint16 {
	p, ok := s.kind.(process)
	if !ok {
		return 0
	}
	at, _ := p.loopback()
	return at.Ports.First
}

// ProgramAt returns the service of type "process" whose program listens at an address
// and port of this host, or at a Unix socket; nil: there is none.
func (c *Config) ProgramAt(to relay.Upstream, udp bool) *Service {
	for i := range c.Services {
		p, ok := c.Services[i].kind.(process)
		if ok && c.Services[i].UDP == udp && p.sameUpstream(process{to: string(to)}) {
			return &c.Services[i]
		}
	}
	return nil
}

// sameUpstream reports whether two programs have the same address or socket.
func (p process) sameUpstream(q process) bool {
	at, ok := p.loopback()
	other, ok2 := q.loopback()
	return p.to == q.to && p.to != inherit || ok && ok2 && at == other
}

// checkProcessPorts rejects the upstream of a process if another service has its port
// or socket: clients of one would reach the other, and strangers too.
func checkProcessPorts(f *tomlfile.File, services []Service) error {
	for i := range services {
		p, ok := services[i].kind.(process)
		if !ok {
			continue
		}
		key := fmt.Sprintf("service.%d.upstream", i)
		at, onLoopback := p.loopback()
		for j := range services {
			other := &services[j]
			if onLoopback && other.UDP == services[i].UDP && other.listensIn(at) {
				return f.Errorf(key, "got %q, which is a port of service %s", p.to, other.Name)
			}
			q, alike := other.kind.(process)
			if alike && j < i && p.sameUpstream(q) && (!onLoopback || other.UDP == services[i].UDP) {
				return f.Errorf(key, "got %q, the upstream of service %s", p.to, other.Name)
			}
		}
	}
	return nil
}

// listensIn reports whether a port of the service includes one of an address.
func (s *Service) listensIn(at firewall.At) bool {
	for _, own := range append(s.At(), s.viaAt()...) {
		if own.Overlaps(at) {
			return true
		}
	}
	return false
}

// processPorts returns the loopback ports of the programs of services, of TCP or UDP.
func (c *Config) processPorts(udp bool) (ports []access.Ports) {
	for i := range c.Services {
		if p, ok := c.Services[i].kind.(process); ok && c.Services[i].UDP == udp {
			if at, ok := p.loopback(); ok {
				ports = append(ports, at.Ports)
			}
		}
	}
	return ports
}
