package config

import (
	"fmt"

	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
	"sallyport/sessions/gate/relay"
	"sallyport/verify/schedule"
)

// rawListener has the keys of services for which the server itself listens.
type rawListener struct {
	Look           string `toml:"look" kinds:"web,proxy,process" default:"closed" oneof:"filtered|closed" reload:"restart" expect:"\"filtered\" or \"closed\""`
	MaxConnections int    `toml:"max_connections" kinds:"web,proxy,process,firewall" default:"64" range:"1..4096" reload:"restart" expect:"how many connections an address may have, a whole number from 1 to 4096"`
}

// listener is the common part of the kinds for which the server itself listens.
type listener struct{}

func (listener) binds() bool { return true }

func (listener) published() bool { return false }

func (listener) trusted() firewall.Trusted { return firewall.Trusted{} }

func (listener) firewall(s *Service, h Host) string {
	if s.Filtered && !s.UDP && !h.FilterTCP {
		return fmt.Sprintf(
			"service %s, with look = \"filtered\", which requires the firewall with this kernel,", s.Name)
	}
	return ""
}

// guard leaves the cutting of connections to the server. To strangers, the port
// looks closed: it replies with a rejection, or not at all with stealth. With look =
// "filtered", it never replies.
func (listener) guard(s *Service, stealth bool, p *firewall.Port) {
	hidden := stealth && s.UDP && (s.Rotates() || p.Port >= schedule.MinPort)
	p.Reject = !s.Filtered && !hidden
}

func (listener) advice(s *Service, c *Config, h Host) string {
	const visible = "strangers can detect service %s while a client has a lease: "
	switch {
	case c.NeedsFirewall(h) != "" || s.Filtered:
		return ""
	case h.NetAdmin():
		return fmt.Sprintf(visible+"stealth = true hides it, since CAP_NET_ADMIN is available", s.Name)
	case !s.UDP && !h.FilterTCP:
		return fmt.Sprintf(visible+"with this kernel, hiding it requires CAP_NET_ADMIN and stealth = true", s.Name)
	}
	return fmt.Sprintf(visible+"look = \"filtered\" looks the same at all times", s.Name)
}

// listenUDP returns a UDP service of this process, and the function that changes its
// upstream.
func (s *Service) listenUDP(env Env, r relay.UDPConfig) (l Live, update func(relay.Upstream)) {
	cfg := gate.UDPConfig{Listen: s.Listen, Filtered: s.Filtered, PrefixLen4: s.PrefixLen4, PrefixLen6: s.PrefixLen6, Clock: env.Clock, Log: env.Log, Relay: r}
	if s.Rotates() {
		return s.rotatingUDP(env, cfg)
	}
	udp := gate.NewUDP(cfg)
	return Live{Enforcers: []access.Enforcer{udp}, Prepare: udp.Prepare, Flows: udp.Flows}, udp.Update
}

// listen returns a TCP service of this process.
func (listener) listen(s *Service, server gate.Handler, env Env) (Live, error) {
	prover, err := s.prover(env)
	if err != nil {
		return Live{}, err
	}
	cfg := gate.TCPConfig{
		Listen: s.Listener(), Filtered: s.Filtered, PrefixLen4: s.PrefixLen4, PrefixLen6: s.PrefixLen6, PerAddress: s.Connections, Handler: server,
		Prover: prover, Limits: new(gate.ConnLimits), Clock: env.Clock, Log: env.Log,
	}
	inlet := gate.NewInlet(cfg, s.Port())
	if s.Rotates() {
		l := rotatingLive(s.rotating(env, false, func(listen string) gate.DrawnPort {
			own := cfg
			own.Listen = listen
			return gate.NewTCP(own)
		}))
		l.Inlet, l.Connections = inlet, cfg.Limits.Count
		return l, nil
	}
	tcp := gate.NewTCP(cfg)
	return Live{Enforcers: []access.Enforcer{tcp}, Prepare: tcp.Prepare, Inlet: inlet, Connections: cfg.Limits.Count}, nil
}
