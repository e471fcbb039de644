package config

import (
	"fmt"

	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
	"sallyport/verify/schedule"
)

// rawListener are the keys of services that listen themselves.
type rawListener struct {
	Look           string `toml:"look" kinds:"web,proxy" default:"closed" oneof:"filtered|closed" reload:"restart" expect:"\"filtered\" or \"closed\""`
	MaxConnections int    `toml:"max_connections" kinds:"web,proxy" default:"64" range:"1..4096" reload:"restart" expect:"how many connections an address may have, a whole number from 1 to 4096"`
}

// listener is what the kinds have in common for which the server itself
// listens.
type listener struct{}

func (listener) binds() bool { return true }

func (listener) published() bool { return false }

func (listener) firewall(s *Service, h Host) string {
	if s.Filtered && !s.UDP && !h.FilterTCP {
		return fmt.Sprintf("service %s, with look = \"filtered\", which this kernel lets nobody else have,", s.Name)
	}
	return ""
}

// guard leaves ending connections to the server. The port looks as if nothing
// were there, which is silent with stealth; or as if it were always filtered.
func (listener) guard(s *Service, stealth bool, p *firewall.Port) {
	p.Reject = !s.Filtered && !(stealth && s.UDP && p.Port >= schedule.MinPort)
}

func (listener) advice(s *Service, c *Config, h Host) string {
	const closed = "service %s looks closed, but not while somebody has it open: "
	switch {
	case c.NeedsFirewall(h) != "" || s.Filtered:
		return ""
	case h.NetAdmin():
		return fmt.Sprintf(closed+"stealth = true hides that, since CAP_NET_ADMIN is there", s.Name)
	case !s.UDP && !h.FilterTCP:
		return fmt.Sprintf(closed+"with this kernel it takes CAP_NET_ADMIN, and stealth = true, to hide that", s.Name)
	}
	return fmt.Sprintf(closed+"look = \"filtered\" looks the same at all times", s.Name)
}

// listen has a server of this process listen for TCP.
func (listener) listen(s *Service, server gate.Handler, env Env) Live {
	tcp := gate.NewTCP(gate.TCPConfig{
		Listen: s.Listen, Filtered: s.Filtered, PrefixLen6: s.PrefixLen6, PerAddress: s.Connections, Server: server,
		Clock: env.Clock, Log: env.Log,
	})
	return Live{Enforcers: []access.Enforcer{tcp}, Prepare: tcp.Prepare}
}
