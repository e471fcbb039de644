package config

import (
	"net"
	"strconv"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/internal/tomlfile"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
	"sallyport/sessions/gate/relay"
)

// A service of type "firewall" with via = "proxy" has the server before the program: the
// firewall redirects connections of admitted peers to via_port, where each proves itself.
// The server then connects to the program at its own port.

// readVia checks the keys of the proxy before a program behind the firewall.
func (r *rawService) readVia(f *tomlfile.File, at string, s *Service) error {
	switch {
	case r.Via == "" && f.Has(at+"via_port"):
		return f.Errorf(at+"via_port", "got %d without via = \"proxy\"", r.ViaPort)
	case r.Via == "" && f.Has(at+"max_connections"):
		return f.Errorf(at+"max_connections", "got %d for a service of type \"firewall\" without via = \"proxy\": the server does not see its connections", r.MaxConnections)
	case r.Via == "" && r.Bind == "connection":
		return hint.With(f.Errorf(at+"bind", "got \"connection\" without via = \"proxy\": no byte of the connections of a service of type \"firewall\" passes through this process"),
			"set via = \"proxy\" and via_port, if the program behind the firewall can read the PROXY protocol; or bind = \"isn\"")
	case r.Via == "":
		return nil
	case r.Bind != "connection":
		return hint.With(f.Errorf(at+"via", "got \"proxy\" with bind = %q", r.Bind), "set bind = \"connection\"; or remove via, and clients reach the program itself")
	case !f.Has(at + "via_port"):
		return hint.With(f.Errorf(at+"via_port", "got nothing with via = \"proxy\""), "name a port that no program uses, outside of net.ipv4.ip_local_port_range")
	}
	requires := ""
	switch {
	case s.UDP:
		requires = "protocol = \"tcp\""
	case s.Rotates():
		requires = "port = \"fixed\""
	case s.Several():
		requires = "one port in listen, which the program keeps"
	case r.Hook != "prerouting":
		requires = "hook = \"prerouting\": the program must listen on this host itself, and not behind DNAT or a port that Docker publishes"
	case r.Jump != "":
		requires = "a service without jump: the connections do not reach the program's port"
	case len(r.Allow) > 0:
		requires = "a service without allow: each connection must prove that it is a client's"
	default:
		return nil
	}
	return f.Errorf(at+"via", "got \"proxy\" for a service that cannot have a proxy: that requires %s", requires)
}

// Via returns the port at which the server listens before the program of a service of
// type "firewall"; 0: the service has no proxy.
func (s *Service) Via() uint16 {
	g, _ := s.kind.(guarded)
	return g.via
}

// Carries reports whether the connections of the service pass through this process: it
// listens on the service's port, or before the program that has it.
func (s *Service) Carries() bool { return s.Binds() || s.Via() != 0 }

// Listener returns the address and port at which the server listens for a service with a
// fixed port.
func (s *Service) Listener() string {
	if s.Via() == 0 {
		return s.Listen
	}
	return net.JoinHostPort(s.listens()[0].host, strconv.Itoa(int(s.Via())))
}

// Behind returns the address and port of the program behind a proxy; empty: the service has
// no proxy.
func (s *Service) Behind() string {
	if s.Via() == 0 {
		return ""
	}
	return string(s.behind())
}

// viaPorts returns the port of the proxy as a list, for lists of ports.
func (s *Service) viaPorts() []access.Ports {
	if s.Via() == 0 {
		return nil
	}
	return []access.Ports{{First: s.Via(), Last: s.Via()}}
}

// viaAt returns the port of the proxy, with the address at which clients reach it.
func (s *Service) viaAt() (all []firewall.At) {
	for _, p := range s.viaPorts() {
		all = append(all, firewall.At{Address: s.Host(), Ports: p})
	}
	return all
}

// viaConflicts returns an error if the proxy of a service has a port of another service,
// or of the program.
func (s *Service) viaConflicts(f *tomlfile.File, at string, others []Service) error {
	taken := func(by *Service) error {
		return f.Errorf(at+"via_port", "got %d, which service %s already uses", s.Via(), by.Name)
	}
	if s.Via() != 0 && s.Via() == s.Port() {
		return f.Errorf(at+"via_port", "got %d, the port of the program itself", s.Via())
	}
	for i := range others {
		other := &others[i]
		switch {
		case s.UDP || other.UDP:
		case s.Via() != 0 && (other.Via() == s.Via() || access.AnyHas(other.Ports(), s.Via())):
			return taken(other)
		case other.Via() != 0 && access.AnyHas(s.Ports(), other.Via()):
			return f.Errorf(at+"listen", "got %q, of which service %s has port %d as its via_port", s.Listen, other.Name, other.Via())
		}
	}
	return nil
}

// liveVia returns the proxy before the program.
func (g guarded) liveVia(s *Service, env Env) (Live, error) {
	log := env.Log.With("service", s.Name)
	server := gate.NewProxy(relay.TCP{Upstream: s.behind(), ProxyProtocol: true, Port: s.Port()}, log)
	l, err := listener{}.listen(s, server, env)
	l.Load = func(*Service) (func(), error) { return func() {}, nil }
	return l, err
}
