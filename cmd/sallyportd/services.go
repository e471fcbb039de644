package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"

	"sallyport/sessions/gate"
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

// restrictions says who may not open everything.
func restrictions(cfg config) (map[wire.Identifier]gate.Rights, error) {
	names := cfg.serviceNames()
	restricted := map[wire.Identifier]gate.Rights{}
	for _, c := range cfg.clients {
		if c.services == "" {
			continue
		}
		if err := c.checkServices(names); err != nil {
			return nil, err
		}
		var rights gate.Rights
		for name := range strings.SplitSeq(c.services, ",") {
			rights |= 1 << slices.Index(names, name)
		}
		restricted[c.identifier] = rights
	}
	return restricted, nil
}

// runningService is a service of the running server, and what of it a reload can
// change.
type runningService struct {
	service *gate.Service
	prepare func() error
	update  func(content)
}

// newService makes a closed service. With a helper the firewall stands before
// it, whatever it is: for a stranger its port is then the same at all times.
func newService(number int, s serviceConfig, c content, h *helper.Client, log *slog.Logger) runningService {
	r := runningService{prepare: func() error { return nil }, update: func(content) {}}
	var doors []gate.Door
	switch {
	case s.kind == "web":
		web := gate.NewWeb(c.web, log)
		doors, r.prepare = tcpDoor(s, web, log)
		r.update = func(c content) { web.Update(c.web) }
	case s.kind == "proxy" && !s.udp:
		proxy := gate.NewProxy(c.relay, log)
		doors, r.prepare = tcpDoor(s, proxy, log)
		r.update = func(c content) { proxy.Update(c.relay) }
	case s.kind == "proxy":
		door := gate.NewUDP(gate.UDPConfig{
			Listen: s.listen, Filtered: s.filtered, Grain: s.grain, Log: log,
			Relay: relay.UDPConfig{Upstream: c.relay.Upstream, PerAddress: s.connections, Log: log},
		})
		doors, r.prepare = []gate.Door{door}, door.Prepare
		r.update = func(c content) { door.Update(c.relay.Upstream) }
	}
	if s.kind == "firewall" {
		doors = []gate.Door{portsTo(s, log)}
	}
	if h != nil {
		doors = append(doors, &helper.Door{Client: h, Service: uint16(number), Ends: s.kind != "firewall" || s.terms.Cut})
	}
	r.service = gate.NewService(s.name, s.grain, s.terms, log, doors...)
	return r
}

// portsTo has random ports lead to what another program listens on here.
func portsTo(s serviceConfig, log *slog.Logger) gate.Door {
	host := "127.0.0.1"
	if a := s.host(); a.IsValid() {
		host = a.String()
	}
	upstream := net.JoinHostPort(host, fmt.Sprint(s.port()))
	if s.udp {
		return gate.PortsOnly(gate.NewUDP(gate.UDPConfig{
			Listen: s.listen, Grain: s.grain, Log: log, Relay: relay.UDPConfig{Upstream: upstream, PerAddress: 1, Log: log},
		}))
	}
	return gate.PortsOnly(gate.NewTCP(gate.TCPConfig{
		Listen: s.listen, Grain: s.grain, PerAddress: 64, Server: gate.NewProxy(relay.TCP{Upstream: upstream}, log), Log: log,
	}))
}

func tcpDoor(s serviceConfig, server gate.Server, log *slog.Logger) ([]gate.Door, func() error) {
	door := gate.NewTCP(gate.TCPConfig{
		Listen: s.listen, Filtered: s.filtered, Grain: s.grain, PerAddress: s.connections, Server: server, Log: log,
	})
	return []gate.Door{door}, door.Prepare
}
