package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/internal/tomlfile"
	"sallyport/sessions/client"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/relay"
	"sallyport/verify/schedule"
)

// rawRotate has the keys of services whose port may rotate.
type rawRotate struct {
	PortKey      string `toml:"port" kinds:"web,proxy,process,firewall" default:"fixed" oneof:"fixed|rotate" reload:"restart" expect:"\"fixed\" or \"rotate\""`
	RotatePorts  string `toml:"rotate_ports" kinds:"web,proxy,process,firewall" default:"10000-32767" reload:"restart" expect:"a range of ports in quotes, such as \"10000-32767\", from 1025 to 65535"`
	RotateExcept []int  `toml:"rotate_except" kinds:"web,proxy,process,firewall" range:"1025..65535" reload:"restart" expect:"a list of ports from 1025 to 65535, at most 256"`
}

// defaultRotatePorts is the default of raw.go.
const defaultRotatePorts = "10000-32767"

// maxRotateExcept is how many ports rotate_except may have: profiles repeat them.
const maxRotateExcept = 256

// rotation is the part of a service whose port rotates.
type rotation struct {
	drawn schedule.Drawn
	// permitted are the ports that the firewall's holder lets the server open: also
	// those of stealth_except, which a reload changes and the holder does not read.
	permitted []schedule.Range
	config    *Config // its port secrets, knocks and generator
}

// Rotates reports whether each minute draws another port of the service.
func (s *Service) Rotates() bool { return s.rotation != nil }

// Drawn returns the ports that may be drawn, of a service whose port rotates. Its
// exceptions include the ports that the server uses itself.
func (s *Service) Drawn() schedule.Drawn {
	if s.rotation == nil {
		return schedule.Drawn{}
	}
	return s.rotation.drawn
}

// rotate checks the keys of a service whose port may rotate.
func (r *rawService) rotate(f *tomlfile.File, at string, s *Service) error {
	if r.PortKey != "rotate" {
		switch { // the defaults have no effect
		case r.RotatePorts != "" && r.RotatePorts != defaultRotatePorts:
			return f.Errorf(at+"rotate_ports", "got %q without port = \"rotate\"", r.RotatePorts)
		case len(r.RotateExcept) > 0:
			return f.Errorf(at+"rotate_except", "got %d without port = \"rotate\"", r.RotateExcept)
		}
		return nil
	}
	drawn, err := schedule.ParseRange(r.RotatePorts)
	if err != nil || drawn.First < schedule.MinPort {
		return f.Errorf(at+"rotate_ports", "got %q", r.RotatePorts)
	}
	if len(r.RotateExcept) > maxRotateExcept {
		return f.Errorf(at+"rotate_except", "got %d ports", len(r.RotateExcept))
	}
	s.rotation = &rotation{drawn: schedule.Drawn{Range: drawn}}
	for _, p := range r.RotateExcept {
		s.rotation.except(access.Ports{First: uint16(p), Last: uint16(p)})
	}
	return nil
}

// checkRotation rejects what a service whose port rotates cannot have.
func (s *Service) checkRotation(f *tomlfile.File, at string) error {
	if !s.Rotates() {
		if slices.ContainsFunc(s.listens(), func(l listenAt) bool { return l.ports.First == 0 }) {
			return f.Errorf(at+"listen", "got %q; only a service with port = \"rotate\" has port 0", s.Listen)
		}
		return nil
	}
	requires := ""
	switch {
	case s.Policy.Anyone:
		requires = "open_to = \"knocker\", since only the client that knocked knows the port"
	case s.RequireISN:
		requires = "bind = \"address\""
	case s.PrefixLen4%8 != 0:
		requires = "grant_prefix4 = 32, 24 or 16: the firewall compares whole bytes of an address together with the port"
	case s.Policy.Addresses > gate.MaxDrawnAddresses:
		requires = fmt.Sprintf("max_addresses of at most %d: each minute of a client is a lease with a port", gate.MaxDrawnAddresses)
	case s.Binds() && strings.Contains(s.Listen, listenSeparator), s.Binds() && s.listens()[0].ports.First != 0:
		return f.Errorf(at+"listen",
			"got %q for a service with port = \"rotate\", which listens at a drawn port: expected the port 0, as in \":0\" or \"192.0.2.1:0\"", s.Listen)
	case !s.Binds() && s.listens()[0].ports.First == 0:
		return f.Errorf(at+"listen", "got %q; the drawn ports lead to the port of another program, which this key must name", s.Listen)
	case s.Several():
		return f.Errorf(at+"listen", "got %q; the drawn ports lead to one port", s.Listen)
	default:
		return nil
	}
	return f.Errorf(at+"port", "got \"rotate\", which requires %s", requires)
}

// except adds exceptions, in a form that depends only on the set of ports.
func (r *rotation) except(ports ...access.Ports) {
	for _, p := range ports {
		if p.IsValid() && p.Overlaps(access.Ports(r.drawn.Range)) {
			r.drawn.Except = append(r.drawn.Except, schedule.Range(p))
		}
	}
	slices.SortFunc(r.drawn.Except, func(a, b schedule.Range) int {
		if a.First != b.First {
			return int(a.First) - int(b.First)
		}
		return int(a.Last) - int(b.Last)
	})
	r.drawn.Except = slices.Compact(r.drawn.Except)
}

// rotations completes the services whose port rotates: the fixed ports of the server
// are never drawn. The profiles have these exceptions too, so both sides draw alike.
func (r *raw) rotations(f *tomlfile.File, c *Config) error {
	for i := range c.Services {
		s := &c.Services[i]
		if !s.Rotates() {
			continue
		}
		s.rotation.config = c
		for j := range c.Services {
			if other := &c.Services[j]; other.UDP == s.UDP {
				s.rotation.except(append(other.Ports(), other.viaPorts()...)...)
			}
		}
		s.rotation.except(c.processPorts(s.UDP)...)
		if ch := c.Challenge; ch != nil && (ch.Answers != nil) != s.UDP {
			s.rotation.except(ch.PacketPorts())
		}
		s.rotation.except(c.carrierPorts(s.UDP)...)
		if ch := c.Challenge; ch != nil && ch.Answers != nil && !s.UDP {
			s.rotation.except(access.Ports{First: ch.Answers.Port, Last: ch.Answers.Port})
		}
		s.rotation.permitted = s.rotation.drawn.Ranges()
		needed := schedule.Candidates
		if s.UDP {
			for _, p := range c.StealthExcept {
				s.rotation.except(access.Ports{First: p, Last: p})
			}
			needed += schedule.MaxLive * c.Ports // WithoutKnocks
		}
		if free := s.rotation.drawn.Free(); free < needed {
			return hint.With(f.Errorf(fmt.Sprintf("service.%d.rotate_ports", i),
				"got %q, which leaves %d to draw from; at least %d are required", r.Service[i].RotatePorts, free, needed),
				"name a larger range; the server leaves out rotate_except, and the ports of its other services and of [challenge]")
		}
	}
	return nil
}

// errNoPortSecret is the error of a sequence by a port secret that is no longer valid.
var errNoPortSecret = errors.New("the port secret of the sequence is no longer valid")

// Draw returns the function that draws the ports of a service whose port rotates. The
// configuration must contain its port secrets.
func (s *Service) Draw() gate.Draw {
	c := s.rotation.config
	drawn, name, udp, generator, n := s.rotation.drawn, s.Name, s.UDP, c.Generator, c.Ports
	secrets := map[schedule.SecretName]string{}
	for _, secret := range []string{c.PortSecret.Previous, c.PortSecret.Current} {
		secrets[schedule.NameOf(secret)] = secret
	}
	secrets[0] = c.PortSecret.Current // both secrets have the ports of the sequence
	return func(m schedule.Minute, by schedule.SecretName) (ports [schedule.Candidates]uint16, err error) {
		secret := secrets[by]
		if secret == "" {
			return ports, errNoPortSecret
		}
		of := drawn
		if udp {
			if of, err = of.WithoutKnocks(generator, secret, m, n); err != nil {
				return ports, err
			}
		}
		return of.Ports(secret, name, m)
	}
}

// rotating returns a service of this process whose port rotates. Make returns the
// enforcer of an address and port.
func (s *Service) rotating(env Env, holdOnly bool, make func(listen string) gate.DrawnPort) *gate.Rotating {
	return gate.NewRotating(gate.RotatingConfig{
		Draw: s.Draw(), HoldOnly: holdOnly, Clock: env.Clock, Log: env.Log.With("service", s.Name),
		Make: func(port uint16) gate.DrawnPort {
			at := s.listens()[0]
			at.ports = access.Ports{First: port, Last: port}
			return make(at.String())
		},
	})
}

// rotatingLive returns a service that has this enforcer only.
func rotatingLive(r *gate.Rotating) Live {
	return Live{Enforcers: []access.Enforcer{r}, Prepare: r.Prepare, Rotation: r}
}

// rotatingUDP returns a UDP service of this process whose port rotates, and the
// function that changes its upstream.
func (s *Service) rotatingUDP(env Env, cfg gate.UDPConfig) (l Live, update func(relay.Upstream)) {
	var upstream atomic.Pointer[relay.Upstream]
	upstream.Store(&cfg.Relay.Upstream)
	cfg.Relay.Shared = new(relay.Shared)
	r := s.rotating(env, false, func(listen string) gate.DrawnPort {
		own := cfg
		own.Listen, own.Relay.Upstream = listen, *upstream.Load()
		return gate.NewUDP(own)
	})
	l = rotatingLive(r)
	l.Flows = cfg.Relay.Shared.Flows
	return l, func(to relay.Upstream) {
		upstream.Store(&to)
		r.Each(func(p gate.DrawnPort) { p.(*gate.UDP).Update(to) })
	}
}

// BindAddresses returns the addresses and ports that the server may bind for the service at a
// time: its own, or the candidates of the minute. It requires the port secrets if the
// port rotates.
func (s *Service) BindAddresses(now time.Time) ([]string, error) {
	if !s.Rotates() {
		return []string{s.Listener()}, nil
	}
	ports, err := s.Draw()(schedule.MinuteOf(now), 0)
	var all []string
	for _, p := range ports {
		at := s.listens()[0]
		at.ports = access.Ports{First: p, Last: p}
		all = append(all, at.String())
	}
	return all, err
}

// firstPort returns the lowest port that the server may bind for the service.
func (s *Service) firstPort() uint16 {
	switch {
	case s.Rotates():
		return s.rotation.drawn.First
	case s.Via() != 0:
		return s.Via()
	}
	return s.Port()
}

// drawnRanges returns the ports that may be drawn, for the firewall and its holder, by
// this configuration and by those to which a reload changes it; nil: the port is fixed.
func (s *Service) drawnRanges() (all []access.Ports) {
	if !s.Rotates() {
		return nil
	}
	for _, r := range s.rotation.permitted {
		all = append(all, access.Ports(r))
	}
	return all
}

// ProfileRotation returns what a profile has of a service whose port rotates; nil: its
// port is fixed.
func (s *Service) ProfileRotation() *client.Rotation {
	if !s.Rotates() {
		return nil
	}
	return &client.Rotation{Service: s.Name, Drawn: s.rotation.drawn}
}
