package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/profile"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/privilege"
	"sallyport/sessions/client"
	"sallyport/sessions/client/profilefile"
)

// profileMaker makes the profiles of a server.
type profileMaker struct {
	cfg       *config.Config
	list      clients.List
	host      config.Host
	server    string
	addresses serverAddresses
	gateways  []client.Gateway // in place of the server; nil: there is one server
}

// newProfileMaker finds what all profiles of a server have in common. The flag names
// the server; empty: the configuration does.
func newProfileMaker(ctx context.Context, env cli.Env, cfg *config.Config, list clients.List, flag string) (m profileMaker, err error) {
	m = profileMaker{cfg: cfg, list: list}
	if m.server, err = serverName(flag, cfg); err != nil {
		return m, err
	}
	if m.host, err = privilege.Probe(); err != nil {
		return m, err
	}
	m.addresses = findAddresses(ctx, env.Lookup, cfg, m.server)
	return m, nil
}

// newClientMaker is newProfileMaker for the profiles of clients, which may name gateways.
func newClientMaker(ctx context.Context, env cli.Env, cfg *config.Config, list clients.List, flag string) (m profileMaker, err error) {
	if cfg.Fleet == nil || len(cfg.Fleet.Gateways) == 0 {
		m, err = newProfileMaker(ctx, env, cfg, list, flag)
		if err == nil && cfg.Fleet != nil && cfg.Fleet.GatewayKeys {
			m.gateways = []client.Gateway{{Name: cfg.Fleet.Name, Server: m.server, Addresses: m.addresses.all}}
		}
		return m, err
	}
	if flag != "" {
		return m, cli.WithHint(errors.New("--server: the profile names the gateways of the configuration"), "omit --server, or change gateways in [fleet]")
	}
	m = profileMaker{cfg: cfg, list: list}
	if m.host, err = privilege.Probe(); err != nil {
		return m, err
	}
	m.findGateways(ctx, env, cfg.Fleet.Gateways)
	return m, nil
}

// findGateways finds the addresses of gateways.
func (m *profileMaker) findGateways(ctx context.Context, env cli.Env, list []client.Gateway) {
	m.addresses.resolved = true
	var notes []string
	for _, g := range list {
		of := findAddresses(ctx, env.Lookup, m.cfg, g.Server)
		if g.Addresses = of.all; !of.resolved && g.Name != m.cfg.Fleet.Name {
			g.Addresses = nil // those of the configuration are this server's
		}
		if of.note != "" {
			notes = append(notes, of.note)
		}
		m.addresses.resolved = m.addresses.resolved && of.resolved
		m.gateways = append(m.gateways, g)
	}
	m.addresses.note = strings.Join(notes, "; ")
}

// serverName returns the name of the server for a profile.
func serverName(flag string, cfg *config.Config) (string, error) {
	if flag != "" {
		return flag, nil
	}
	if cfg.Server == "" {
		return "", cli.WithHint(fmt.Errorf("the profile must name the server, but %s does not set \"server\"", cfg.Path), "give --server NAME, or set \"server\" there")
	}
	return cfg.Server, nil
}

// client returns the profile of a client as a file.
func (m profileMaker) client(c clients.Client) ([]byte, error) {
	return m.clientFor(c, observableService(m.cfg, c))
}

// clientFor returns the profile of a client that watches a service; nil: it watches none.
func (m profileMaker) clientFor(c clients.Client, s *config.Service) ([]byte, error) {
	p := client.Profile{
		Server: m.server, Addresses: m.addresses.all,
		PortSecret: m.cfg.PortSecret.Current, Ports: m.cfg.Ports, Generator: m.cfg.Generator,
		Identifier: c.Identifier, Secret: m.cfg.ClientKey(c.Secret), OpenFor: m.openFor(c), Expires: c.Expires,
	}
	if s != nil {
		p.Service, p.Bind, p.Rotation = s.ProfileService(), s.ProfileBind(), s.ProfileRotation()
		p.ServiceName = s.ProfileServiceName()
		p.OpenFor = s.Policy.OpenFor
		if own := m.cfg.Service(s.Name); !own.Elsewhere() { // otherwise it depends on another host
			p.Handshake = m.handshake(own, c)
		}
	}
	if c.HighestNonce > 0 && c.HighestNonce < math.MaxUint32 {
		p.FirstNonce = c.HighestNonce + 1
	}
	if m.gateways != nil {
		// The client makes the key for each gateway itself.
		p.Server, p.Addresses, p.Gateways, p.Secret = "", nil, m.gatewaysOf(s), c.Secret
		for i := range p.Gateways {
			// The record of nonces is that of this gateway.
			if p.Gateways[i].Name == m.cfg.Fleet.Name {
				p.Gateways[i].FirstNonce = p.FirstNonce
			}
		}
		p.FirstNonce = 0
		p.Split = m.cfg.Fleet.Split
	}
	text, err := profilefile.Format(p)
	if err != nil {
		return nil, fmt.Errorf("write the profile: %w", err)
	}
	return text, checkProfile(text)
}

// gatewaysOf returns the gateways for a profile with a service. Those that do not have it get
// knocks only, if sequences are split over all gateways.
func (m profileMaker) gatewaysOf(s *config.Service) (list []client.Gateway) {
	for _, g := range m.gateways {
		if g.KnockOnly = s != nil && !s.CarriedBy(g.Name); !g.KnockOnly || m.cfg.Fleet.Split {
			list = append(list, g)
		}
	}
	return list
}

// openFor returns the shortest time for which a service of a client opens, for a profile
// that names no service; 0: there is no service.
func (m profileMaker) openFor(c clients.Client) (shortest time.Duration) {
	for i := range m.cfg.Services {
		s := &m.cfg.Services[i]
		if mayOpen(c, s) && (shortest == 0 || s.Policy.OpenFor < shortest) {
			shortest = s.Policy.OpenFor
		}
	}
	return shortest
}

// handshake returns what a completed handshake with a service proves to a client.
func (m profileMaker) handshake(s *config.Service, of ...clients.Client) client.Handshake {
	if m.cfg.GrantedHandshake(s, m.host, m.leases(s, of)) {
		return client.HandshakeGranted
	}
	return client.HandshakeUnknown
}

// leases returns how many leases of a service can be in force at a time, with those of
// further clients.
func (m profileMaker) leases(s *config.Service, further clients.List) int {
	owners := map[string]bool{}
	for _, c := range slices.Concat(m.list, further) {
		if mayOpen(c, s) {
			owners[c.Identifier.String()] = true
		}
	}
	for _, o := range m.cfg.Operations {
		switch {
		case o.Service != s.Name, o.Close, o.RandomPort: // a random port has another socket
		case o.Client == "":
			return math.MaxInt // each address counts as a client
		default:
			owners[o.Client] = true
		}
	}
	return len(owners) * s.Policy.Addresses
}

// mayOpen reports whether a client may open a service.
func mayOpen(c clients.Client, s *config.Service) bool {
	allowed := c.Allowed()
	return allowed == nil || slices.Contains(allowed, s.Name)
}

// checkProfile returns an error if a client could not read the profile.
func checkProfile(text []byte) error {
	if _, err := profile.Parse("profile", text); err != nil {
		return fmt.Errorf("the profile would not be valid: %w", err)
	}
	return nil
}
