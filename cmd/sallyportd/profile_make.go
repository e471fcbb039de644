package main

import (
	"context"
	"fmt"
	"math"
	"slices"
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
	p := client.Profile{
		Server: m.server, Addresses: m.addresses.all,
		PortSecret: m.cfg.PortSecret.Current, Ports: m.cfg.Ports, Generator: m.cfg.Generator,
		Identifier: c.Identifier, Secret: c.Secret, OpenFor: m.openFor(c), Expires: c.Expires,
	}
	if s := observableService(m.cfg, c); s != nil {
		p.Service, p.Bind, p.Rotation = s.ProfileService(), s.ProfileBind(), s.ProfileRotation()
		p.ServiceName = s.ProfileServiceName()
		p.OpenFor, p.Handshake = s.Policy.OpenFor, m.handshake(s, c)
	}
	if c.HighestNonce > 0 && c.HighestNonce < math.MaxUint32 {
		p.FirstNonce = c.HighestNonce + 1
	}
	text, err := profilefile.Format(p)
	if err != nil {
		return nil, fmt.Errorf("write the profile: %w", err)
	}
	return text, checkProfile(text)
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
