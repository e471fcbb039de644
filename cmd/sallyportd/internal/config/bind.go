package config

import (
	"fmt"

	"sallyport/cmd/internal/tomlfile"
	"sallyport/sessions/client"
	"sallyport/sessions/gate/prove"
	"sallyport/verify/preamble"
)

// How many connections without a proof a service may have, at least: in all, and of an
// address, so that those of neighbours leave room for a client's with max_connections = 1.
const (
	minPending      = 1024
	minPendingShare = 64
)

// bind checks the key "bind" of a service whose connections the server carries. The kind
// firewall has the rest.
func (r *rawService) bind(f *tomlfile.File, at string, s *Service) error {
	switch {
	case r.Bind == "isn" && s.Binds():
		return f.Errorf(at+"bind", "got \"isn\" for a service of type %q, since this process does not see sequence numbers", r.Type)
	case r.Bind != "connection":
		return nil
	case s.UDP:
		return f.Errorf(at+"bind", "got \"connection\", which requires protocol = \"tcp\"")
	}
	if err := preamble.CheckService(s.Name); err != nil {
		return f.Errorf(at+"name", "got %d bytes for a service with bind = \"connection\", whose name may have %d", len(s.Name), preamble.MaxService)
	}
	s.Proves = true
	return nil
}

// prover returns what lets connections to the service prove themselves; nil: the address
// suffices.
func (s *Service) prover(env Env) (*prove.Prover, error) {
	if !s.Proves {
		return nil, nil
	}
	authority := env.Connections
	if authority == nil { // the service is only checked
		authority = new(prove.Authority)
	}
	p, err := prove.New(prove.Config{
		Service: s.Name, Authority: authority, Wall: env.Clock.Wall,
		Pending: s.pending(), Share: max(minPendingShare, s.Connections),
	})
	if err != nil {
		return nil, fmt.Errorf("service %s: %w", s.Name, err)
	}
	return p, nil
}

// pending is how many connections without a proof the service may have.
func (s *Service) pending() int {
	if !s.Proves {
		return 0
	}
	return max(minPending, s.Connections)
}

// Pending is how many connections without a proof all services together may have.
func (c *Config) Pending() (n int) {
	for i := range c.Services {
		n += c.Services[i].pending()
	}
	return n
}

// Proves reports whether connections to a service of the configuration must prove that
// they are a client's.
func (c *Config) Proves() bool {
	for i := range c.Services {
		if c.Services[i].Proves {
			return true
		}
	}
	return false
}

// ProfileBind returns the key "bind" of a profile of the service.
func (s *Service) ProfileBind() client.Bind {
	switch {
	case s.RequireISN:
		return client.BindISN
	case s.Proves:
		return client.BindConnection
	}
	return client.BindAddress
}

// ProfileServiceName returns the key "service_name" of a profile of the service; empty:
// it has none.
func (s *Service) ProfileServiceName() string {
	if s.Proves {
		return s.Name
	}
	return ""
}

// bindText describes what clients require for their connections; empty: nothing.
func (s *Service) bindText() string {
	switch {
	case s.RequireISN:
		return "; clients require Linux, CAP_NET_ADMIN and \"sallyport connect\""
	case s.Proves:
		return "; each connection must prove that it is a client's: clients require \"sallyport connect\", \"run\" or \"forward\""
	}
	return ""
}
