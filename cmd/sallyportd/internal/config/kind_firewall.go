package config

import (
	"fmt"
	"net"

	"sallyport/cmd/internal/tomlfile"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
	"sallyport/sessions/gate/relay"
	"sallyport/verify/schedule"
)

// rawFirewall has the keys of services of type "firewall".
type rawFirewall struct {
	Hook   string `toml:"hook" kinds:"firewall" default:"prerouting" oneof:"prerouting|input|forward" reload:"restart" expect:"\"prerouting\", \"input\" or \"forward\""`
	Policy string `toml:"policy" kinds:"firewall" default:"drop" oneof:"drop|reject" reload:"restart" expect:"\"drop\" or \"reject\""`
}

// guarded is a port behind the firewall, on which another program listens, or
// which this host forwards to another host.
type guarded struct {
	hook   firewall.Hook
	reject bool
}

var hooks = map[string]firewall.Hook{
	"prerouting": firewall.HookPrerouting, "forward": firewall.HookForward, "input": firewall.HookInput,
}

func readFirewall(r *rawService, _ *tomlfile.File, _, _ string, _ *Service) (kind, error) {
	return guarded{hook: hooks[r.Hook], reject: r.Policy == "reject"}, nil
}

func (guarded) describe(s *Service) string { return s.Protocol() + " port behind the firewall" }

func (guarded) binds() bool { return false }

func (g guarded) published() bool { return g.hook == firewall.HookForward }

func (guarded) fixed() (key, value string) { return "", "" }

func (guarded) missing() (key, found string) { return "", "" }

func (guarded) upstream() string { return "" }

func (guarded) firewall(s *Service, _ Host) string {
	return fmt.Sprintf("service %s, of type \"firewall\",", s.Name)
}

func (g guarded) guard(s *Service, _ bool, p *firewall.Port) {
	p.Hook, p.Reject, p.Cut = g.hook, g.reject, s.Policy.Cut
}

func (g guarded) advice(s *Service, c *Config, _ Host) string {
	if c.Stealth && s.UDP && g.reject && s.Port() >= schedule.MinPort {
		return fmt.Sprintf("service %s replies to strangers (policy = \"reject\"), "+
			"but the ports next to it do not: policy = \"drop\" hides this difference", s.Name)
	}
	return ""
}

// live forwards random ports to the port of the other program. The firewall alone
// opens the service's own port.
func (guarded) live(s *Service, env Env) (Live, error) {
	host := "127.0.0.1"
	if a := s.Host(); a.IsValid() {
		host = a.String()
	}
	upstream := net.JoinHostPort(host, fmt.Sprint(s.Port()))
	l := Live{Prepare: nothing, Load: func(*Service) (func(), error) { return func() {}, nil }}
	if s.UDP {
		l.Enforcers = []access.Enforcer{gate.PortsOnly(gate.NewUDP(gate.UDPConfig{
			Listen: s.Listen, PrefixLen6: s.PrefixLen6, Clock: env.Clock, Log: env.Log,
			Relay: relay.UDPConfig{Upstream: upstream, PerAddress: 1, Log: env.Log.With("service", s.Name)}, // a random port carries one flow
		}))}
		return l, nil
	}
	l.Enforcers = []access.Enforcer{gate.PortsOnly(gate.NewTCP(gate.TCPConfig{
		Listen: s.Listen, PrefixLen6: s.PrefixLen6, PerAddress: s.Connections,
		Handler: gate.NewProxy(relay.TCP{Upstream: upstream}, env.Log.With("service", s.Name)), Clock: env.Clock, Log: env.Log,
	}))}
	return l, nil
}
