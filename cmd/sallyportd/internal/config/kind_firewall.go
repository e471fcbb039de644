package config

import (
	"fmt"
	"net"
	"slices"

	"sallyport/cmd/internal/tomlfile"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
	"sallyport/sessions/gate/relay"
	"sallyport/verify/schedule"
)

// rawFirewall has the keys of services of type "firewall".
type rawFirewall struct {
	Hook    string   `toml:"hook" kinds:"firewall" default:"prerouting" oneof:"prerouting|input|forward" reload:"restart" expect:"\"prerouting\", \"input\" or \"forward\""`
	Policy  string   `toml:"policy" kinds:"firewall" default:"drop" oneof:"drop|reject" reload:"restart" expect:"\"drop\" or \"reject\""`
	Bind    string   `toml:"bind" kinds:"web,proxy,process,firewall" default:"address" oneof:"address|isn|connection" reload:"restart" expect:"\"address\", \"connection\", or for type \"firewall\" \"isn\""`
	Via     string   `toml:"via" kinds:"firewall" oneof:"proxy" reload:"restart" expect:"\"proxy\", together with bind = \"connection\""`
	ViaPort int      `toml:"via_port" kinds:"firewall" range:"1..65535" reload:"restart" expect:"a free TCP port of this host, from 1 to 65535, together with via = \"proxy\""`
	Jump    string   `toml:"jump" kinds:"firewall" reload:"restart" expect:"the name of your chain in the table inet sallyport: a letter, then letters, digits, \"_\" and \"-\", at most 31 characters"`
	Allow   []string `toml:"allow" kinds:"firewall" reload:"live" expect:"a list of addresses, networks and interfaces in quotes, such as [\"10.8.0.0/24\", \"docker0\"], for a service of type \"firewall\""`
}

// guarded is a port, or several, behind the firewall, on which another program
// listens, or which this host forwards to another host.
type guarded struct {
	hook   firewall.Hook
	reject bool
	jump   string // chain of the operator; empty: none
	allow  firewall.Trusted
	via    uint16 // port at which the server listens before the program; 0: clients reach the program
}

var hooks = map[string]firewall.Hook{
	"prerouting": firewall.HookPrerouting, "forward": firewall.HookForward, "input": firewall.HookInput,
}

func readFirewall(r *rawService, f *tomlfile.File, at, _ string, s *Service) (kind, error) {
	allow, err := firewall.ParseTrusted(r.Allow)
	if err != nil {
		return nil, f.Errorf(at+"allow", "%v", err)
	}
	if r.Bind == "isn" {
		if err := bindISN(f, at, s); err != nil {
			return nil, err
		}
	}
	if s.Rotates() && r.Hook != "prerouting" {
		return nil, f.Errorf(at+"hook", "got %q for a service with port = \"rotate\", whose drawn ports this host redirects at \"prerouting\"", r.Hook)
	}
	if f.Has(at + "jump") {
		if err := firewall.ValidateJump(r.Jump); err != nil {
			return nil, f.Errorf(at+"jump", "%v", err)
		}
	}
	g := guarded{hook: hooks[r.Hook], reject: r.Policy == "reject", jump: r.Jump, allow: allow}
	if err := r.readVia(f, at, s); err != nil {
		return nil, err
	}
	g.via = uint16(r.ViaPort)
	return g, nil
}

// Jump returns the operator's chain through which the packets of admitted peers run
// that begin a connection; empty: none.
func (s *Service) Jump() string {
	g, _ := s.kind.(guarded)
	return g.jump
}

// bindISN makes a service require initial sequence numbers, if it can.
func bindISN(f *tomlfile.File, at string, s *Service) error {
	requires := ""
	switch {
	case s.UDP:
		requires = "protocol = \"tcp\""
	case s.Policy.Anyone:
		requires = "open_to = \"knocker\", since a number is for one client"
	case s.Policy.Cut:
		requires = "connections = \"keep\", since only the first packet of a connection has the number"
	case s.PrefixLen4 != access.PrefixHost4:
		requires = "grant_prefix4 = 32, since a number is for one address"
	case s.PrefixLen6 != access.PrefixHost:
		requires = "grant_prefix6 = 128, since a number is for one address"
	default:
		s.RequireISN = true
		return nil
	}
	return f.Errorf(at+"bind", "got \"isn\", which requires %s", requires)
}

func (g guarded) describe(s *Service) string {
	ports := "port"
	if s.Several() {
		ports = "ports"
	}
	text := s.Protocol() + " " + ports + " behind the firewall"
	if g.via != 0 {
		text += fmt.Sprintf(" and a proxy at port %d, which connects to the program at %s", g.via, s.behind())
	}
	return text
}

func (g guarded) trusted() firewall.Trusted { return g.allow }

func (guarded) binds() bool { return false }

func (g guarded) published() bool { return g.hook == firewall.HookForward }

func (guarded) fixed() (key, value string) { return "", "" }

func (guarded) missing() fault { return fault{} }

func (guarded) upstream() string { return "" }

func (guarded) firewall(s *Service, _ Host) string {
	return fmt.Sprintf("service %s, of type \"firewall\",", s.Name)
}

func (g guarded) guard(s *Service, _ bool, p *firewall.Port) {
	p.Hook, p.Reject, p.Cut, p.RequireISN, p.Jump = g.hook, g.reject, s.Policy.Cut, s.RequireISN, g.jump
	if p.Listener = g.via; g.via != 0 {
		p.Cut = false // the server cuts the connections
	}
}

func (g guarded) advice(s *Service, c *Config, _ Host) string {
	above := func(p access.Ports) bool { return p.Last >= schedule.MinPort }
	if c.Stealth && s.UDP && g.reject && slices.ContainsFunc(s.Ports(), above) {
		return fmt.Sprintf("service %s replies to strangers (policy = \"reject\"), "+
			"but the ports next to it do not: policy = \"drop\" hides this difference", s.Name)
	}
	return ""
}

// live forwards random ports to the port of the other program. The firewall alone
// opens the service's own port.
func (g guarded) live(s *Service, env Env) (Live, error) {
	if g.via != 0 {
		return g.liveVia(s, env)
	}
	l := Live{Load: func(*Service) (func(), error) { return func() {}, nil }}
	upstream := s.behind()
	own := gate.TCPConfig{
		PrefixLen4: s.PrefixLen4, PrefixLen6: s.PrefixLen6, PerAddress: s.Connections,
		Handler: gate.NewProxy(relay.TCP{Upstream: upstream}, env.Log.With("service", s.Name)), Clock: env.Clock, Log: env.Log,
	}
	if !s.UDP {
		l.Inlet = gate.NewInlet(own, s.Port())
	}
	if s.Several() { // no operation opens random ports of such a service
		return l, nil
	}
	forwarding := func(listen string) gate.DrawnPort {
		if s.UDP {
			return gate.NewUDP(gate.UDPConfig{
				Listen: listen, PrefixLen4: s.PrefixLen4, PrefixLen6: s.PrefixLen6, Clock: env.Clock, Log: env.Log,
				Relay: relay.UDPConfig{Upstream: upstream, PerAddress: 1, Log: env.Log.With("service", s.Name)}, // a random port carries one flow
			})
		}
		tcp := own
		tcp.Listen = listen
		return gate.NewTCP(tcp)
	}
	if s.Rotates() { // the firewall leads from the drawn ports, which this enforcer only holds
		l.Rotation = s.rotating(env, true, forwarding)
		l.Enforcers, l.Prepare = []access.Enforcer{l.Rotation}, l.Rotation.Prepare
		return l, nil
	}
	l.Enforcers = []access.Enforcer{gate.PortsOnly(forwarding(s.Listen))}
	return l, nil
}

// behind returns where the server connects to the program behind the firewall.
func (s *Service) behind() relay.Upstream {
	host := "127.0.0.1"
	if a := s.Host(); a.IsValid() {
		host = a.String()
	}
	return relay.Upstream(net.JoinHostPort(host, fmt.Sprint(s.Port())))
}
