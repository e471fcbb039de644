package config

import (
	"fmt"
	"net/netip"
	"strings"

	"sallyport/cmd/internal/tomlfile"
	"sallyport/ingest/udp"
	"sallyport/sessions/client"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
)

// maxServices is how many services a configuration may have.
const maxServices = gate.MaxServices

// Service is a [[service]]: everything checked, nothing default. What it is
// beyond that its kind knows, in a file of its own.
type Service struct {
	Name       string
	UDP        bool
	Listen     string // host:port, or :port
	Terms      gate.LeasePolicy
	PrefixLen6 int // how many bits of an IPv6 address a grant lets in: 128 or 64

	// Filtered and Connections are of services that listen themselves.
	Filtered    bool // the socket is there all the time, and mute; else only while somebody is let in
	Connections int  // of an address at a time

	kind kind
}

// service checks a [[service]].
func (r *rawService) service(f *tomlfile.File, at, dir string) (s Service, err error) {
	if r.Name == "" || strings.ContainsFunc(r.Name, notInName) {
		return s, f.Errorf(at+"name", "got %s", quoted(r.Name))
	}
	read, ok := kinds[r.Type]
	if !ok {
		return s, f.Errorf(at+"type", "got %s", quoted(r.Type))
	}
	if err := fill(f, r, at, r.Type); err != nil {
		return s, err
	}
	s.Name, s.UDP, s.Listen, s.PrefixLen6 = r.Name, r.Protocol == "udp", r.Listen, r.GrantPrefix6
	host, _, err := client.SplitService(r.Listen)
	if err != nil {
		return s, f.Errorf(at+"listen", "got %q", r.Listen)
	}
	if a, err := netip.ParseAddr(host); err == nil && unlistenable(a) != "" {
		return s, f.Errorf(at+"listen", "got %q: the address %s", r.Listen, unlistenable(a))
	} else if err != nil && host != "" {
		return s, f.Errorf(at+"listen", "got %q", r.Listen)
	}
	if err := r.terms(f, at, &s); err != nil {
		return s, err
	}
	s.Filtered, s.Connections = r.Look == "filtered", r.MaxConnections
	s.kind, err = read(r, f, at, dir, &s)
	return s, err
}

func (r *rawService) terms(f *tomlfile.File, at string, s *Service) error {
	t := &s.Terms
	if t.OpenFor, t.OpenMax = duration(r.OpenFor), duration(r.OpenMax); !f.Has(at + "open_max") {
		t.OpenMax = max(t.OpenMax, t.OpenFor)
		r.OpenMax = t.OpenMax.String()
	}
	if t.OpenMax < t.OpenFor {
		return f.Errorf(at+"open_max", "got %q", t.OpenMax)
	}
	t.Anyone, t.Cut, t.Addresses = r.OpenTo == "anyone", r.OnClose == "cut", r.MaxAddresses
	return nil
}

// beside refuses what two services cannot both have.
func (s *Service) beside(f *tomlfile.File, at string, others []Service) error {
	for i := range others {
		other := &others[i]
		switch {
		case other.Name == s.Name:
			return f.Errorf(at+"name", "got %q a second time", s.Name)
		case other.UDP == s.UDP && other.Port() == s.Port() && (!s.Host().IsValid() || !other.Host().IsValid() || s.Host() == other.Host()):
			return f.Errorf(at+"listen", "got %q, which service %s has already", s.Listen, other.Name)
		}
	}
	return nil
}

// ID is how both processes name the service.
func (s *Service) ID() access.ServiceID { return access.ID(s.Name) }

// Port is the one that the service listens on.
func (s *Service) Port() uint16 {
	_, port, _ := client.SplitService(s.Listen) // it was checked
	return port
}

// Host is the address that it listens on; zero: all of this host's.
func (s *Service) Host() netip.Addr {
	host, _, _ := client.SplitService(s.Listen)
	a, _ := netip.ParseAddr(host) // no host: all
	if a.IsUnspecified() {
		return netip.Addr{}
	}
	return a.Unmap()
}

// Addresses are those that it listens on.
func (s *Service) Addresses() udp.Addresses {
	host, _, _ := client.SplitService(s.Listen)
	a, err := netip.ParseAddr(host)
	if err != nil || a == netip.IPv6Unspecified() {
		return nil // no host, or one that stands for all
	}
	return udp.Addresses{a.Unmap()}
}

// Protocol is "tcp" or "udp".
func (s *Service) Protocol() string {
	if s.UDP {
		return "udp"
	}
	return "tcp"
}

// Describe says what a service is, in a line.
func (s *Service) Describe() string {
	who := "the address that knocked"
	if s.Terms.Anyone {
		who = "anyone"
	} else if s.PrefixLen6 == access.PrefixNetwork {
		who += ", of IPv6 its /64"
	}
	then := "keeps connections"
	if s.Terms.Cut {
		then = "cuts connections"
	}
	return fmt.Sprintf("%s: %s, at %s, for %s (at most %s) open to %s, then %s",
		s.Name, s.kind.describe(s), s.Listen, s.Terms.OpenFor, s.Terms.OpenMax, who, then)
}

func notInName(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_')
}

// quoted is a text as an error repeats it.
func quoted(text string) string {
	if text == "" {
		return "nothing"
	}
	return fmt.Sprintf("%q", text)
}
