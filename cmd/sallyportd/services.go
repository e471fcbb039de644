package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"sallyport/sessions/clock"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/helper"
	"sallyport/sessions/gate/relay"
	"sallyport/verify/wire"
)

// content is what a configuration has services serve. Making it finds what is
// wrong with the files it names.
type content struct {
	web   gate.Content
	relay relay.TCP
}

func contentOf(s serviceConfig) (c content, err error) {
	if s.kind != "web" {
		c.relay = relay.TCP{Upstream: s.upstream, ProxyProtocol: s.proxyProtocol}
		return c, nil
	}
	if c.web.Handler, err = handlerOf(s); err != nil {
		return c, fmt.Errorf("service %s: %w", s.name, err)
	}
	if s.tlsCert != "" {
		if c.web.Certificate, err = gate.Certificate(s.tlsCert, s.tlsKey); err != nil {
			return c, fmt.Errorf("service %s: %w", s.name, err)
		}
	}
	return c, nil
}

func handlerOf(s serviceConfig) (http.Handler, error) {
	if s.root == "" {
		return gate.Pages(), nil
	}
	return gate.Directory(s.root)
}

// restrictions says who may not open everything. It keeps names alone.
func restrictions(cfg config) (gate.Restricted, error) {
	names := cfg.serviceNames()
	restricted := map[wire.Identifier]string{}
	for _, c := range cfg.clients {
		if c.services == "" {
			continue
		}
		if err := c.checkServices(names); err != nil {
			return nil, err
		}
		restricted[c.identifier] = c.services
	}
	return func(yield func(wire.Identifier, []access.ServiceID) bool) {
		var of []access.ServiceID
		for id, services := range restricted {
			of = of[:0]
			for name := range strings.SplitSeq(services, ",") {
				of = append(of, access.ID(name))
			}
			if !yield(id, of) {
				return
			}
		}
	}, nil
}

// runningService is a service of the running server, and what of it a reload can
// change.
type runningService struct {
	service *gate.Service
	prepare func() error
	update  func(content)
}

// newWall returns the firewall that all services share; nil: there is none. The
// helper ends connections that neither a rule nor the server ends.
func newWall(cfg config, h *helper.Client) access.Enforcer {
	if h == nil {
		return nil
	}
	var ends []access.ServiceID
	for _, s := range cfg.services {
		if s.kind == "firewall" && !s.terms.Cut {
			ends = append(ends, access.ID(s.name))
		}
	}
	return helper.NewEnforcer(h, ends...)
}

// newService makes a closed service. With a firewall, which all share, that stands
// before it, whatever it is: for a stranger its port is then the same at all times.
func newService(s serviceConfig, c content, wall access.Enforcer, clk clock.Clock, log *slog.Logger) runningService {
	r := runningService{prepare: func() error { return nil }, update: func(content) {}}
	var enforcers []access.Enforcer
	switch {
	case s.kind == "web":
		web := gate.NewWeb(c.web, log)
		enforcers, r.prepare = listener(s, web, clk, log)
		r.update = func(c content) { web.Update(c.web) }
	case s.kind == "proxy" && !s.udp:
		proxy := gate.NewProxy(c.relay, log)
		enforcers, r.prepare = listener(s, proxy, clk, log)
		r.update = func(c content) { proxy.Update(c.relay) }
	case s.kind == "proxy":
		door := gate.NewUDP(gate.UDPConfig{
			Listen: s.listen, Filtered: s.filtered, PrefixLen6: s.prefixLen6, Clock: clk, Log: log,
			Relay: relay.UDPConfig{Upstream: c.relay.Upstream, PerAddress: s.connections, Log: log},
		})
		enforcers, r.prepare = []access.Enforcer{door}, door.Prepare
		r.update = func(c content) { door.Update(c.relay.Upstream) }
	}
	if s.kind == "firewall" {
		enforcers = []access.Enforcer{portsTo(s, clk, log)}
	}
	if wall != nil {
		enforcers = append(enforcers, wall)
	}
	r.service = gate.NewService(gate.ServiceConfig{
		Name: s.name, PrefixLen6: s.prefixLen6, Terms: s.terms, Enforcers: enforcers, Clock: clk, Log: log,
	})
	return r
}

// portsTo has random ports lead to what another program listens on here.
func portsTo(s serviceConfig, clk clock.Clock, log *slog.Logger) access.Enforcer {
	host := "127.0.0.1"
	if a := s.host(); a.IsValid() {
		host = a.String()
	}
	upstream := net.JoinHostPort(host, fmt.Sprint(s.port()))
	if s.udp {
		return gate.PortsOnly(gate.NewUDP(gate.UDPConfig{
			Listen: s.listen, PrefixLen6: s.prefixLen6, Clock: clk, Log: log, Relay: relay.UDPConfig{Upstream: upstream, PerAddress: 1, Log: log},
		}))
	}
	return gate.PortsOnly(gate.NewTCP(gate.TCPConfig{
		Listen: s.listen, PrefixLen6: s.prefixLen6, PerAddress: 64, Server: gate.NewProxy(relay.TCP{Upstream: upstream}, log), Clock: clk, Log: log,
	}))
}

func listener(s serviceConfig, server gate.Server, clk clock.Clock, log *slog.Logger) ([]access.Enforcer, func() error) {
	tcp := gate.NewTCP(gate.TCPConfig{
		Listen: s.listen, Filtered: s.filtered, PrefixLen6: s.prefixLen6, PerAddress: s.connections, Server: server, Clock: clk, Log: log,
	})
	return []access.Enforcer{tcp}, tcp.Prepare
}
