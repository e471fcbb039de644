package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sallyport/cmd/internal/tomlfile"
	"sallyport/ingest/udp"
	"sallyport/sessions/durations"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
	"sallyport/sessions/gate/program"
)

// maxServices is how many services a configuration may have.
const maxServices = gate.MaxServices

// Service is a [[service]], validated, with all defaults filled in. kind has the
// part that depends on its type.
type Service struct {
	Name       string
	Type       string // for people; no code outside of the kinds' files compares it
	UDP        bool
	Listen     string // host:port, or :port; of a firewall, also ranges and several of these; empty: it has no port
	Policy     gate.LeasePolicy
	PrefixLen4 int  // how many bits of an IPv4 address a lease covers: 16 to 32
	PrefixLen6 int  // how many bits of an IPv6 address a lease covers: 128 or 64
	Shared     bool // grants of other servers of the fleet open it, too
	// Gateways are the names of the servers of the fleet that have it; empty: all.
	Gateways   []string
	RequireISN bool // a connection must begin with the initial sequence number of its client's attempt
	Proves     bool // a connection must prove that it is a client's

	// Filtered and Connections are for services for which the server listens.
	Filtered    bool // it always listens, and never replies to strangers; else only while a lease is in force
	Connections int  // how many an address may have at a time

	programs []program.Program
	rotation *rotation // nil: the port is fixed
	kind     kind
}

// service checks a [[service]].
func (r *rawService) service(f *tomlfile.File, at, dir string) (s Service, err error) {
	if r.Name == "" || strings.ContainsFunc(r.Name, notInName) {
		return s, f.Errorf(at+"name", "got %s", orNothing(r.Name))
	}
	read, ok := kinds[r.Type]
	if !ok {
		return s, f.Errorf(at+"type", "got %s", orNothing(r.Type))
	}
	if err := fill(f, r, at, r.Type); err != nil {
		return s, err
	}
	s.Type = r.Type
	s.Name, s.UDP, s.PrefixLen4, s.PrefixLen6, s.Shared = r.Name, r.Protocol == "udp", r.GrantPrefix4, r.GrantPrefix6, r.Spread == "all"
	if err := r.listen(f, at, &s); err != nil {
		return s, err
	}
	if err := r.rotate(f, at, &s); err != nil {
		return s, err
	}
	if err := r.connections(f, at); err != nil {
		return s, err
	}
	if err := r.terms(f, at, &s); err != nil {
		return s, err
	}
	if err := r.commands(f, at, &s); err != nil {
		return s, err
	}
	s.Filtered, s.Connections = r.Look == "filtered", r.MaxConnections
	if s.kind, err = read(r, f, at, dir, &s); err != nil {
		return s, err
	}
	if err := r.bind(f, at, &s); err != nil {
		return s, err
	}
	if err := s.checkProgramKeys(f, at); err != nil {
		return s, err
	}
	if err := s.checkRotation(f, at); err != nil {
		return s, err
	}
	if s.Binds() && s.Several() {
		return s, f.Errorf(at+"listen", "got %q for a service of type %q: only a service of type \"firewall\" has several ports", s.Listen, r.Type)
	}
	return s, nil
}

func (r *rawService) listen(f *tomlfile.File, at string, s *Service) error {
	if r.Listen == nil { // a kind without a port
		return nil
	}
	texts, err := listenTexts(r.Listen)
	if err != nil {
		return f.Errorf(at+"listen", "%v", err)
	}
	before := make([]firewall.At, 0, len(texts))
	for i, text := range texts {
		l, err := parseListen(text)
		if err != nil {
			return f.Errorf(at+"listen", "%v", err)
		}
		place := firewall.At{Address: l.address(), Ports: l.ports}
		if j := slices.IndexFunc(before, place.Overlaps); j >= 0 {
			return f.Errorf(at+"listen", "got %q and %q, which have a port in common", texts[j], text)
		}
		before = append(before, place)
		if len(texts) > 1 || strings.Contains(text[strings.LastIndexByte(text, ':'):], "-") {
			texts[i] = l.String() // its canonical form
		}
	}
	s.Listen = strings.Join(texts, listenSeparator)
	return nil
}

func (r *rawService) terms(f *tomlfile.File, at string, s *Service) error {
	t := &s.Policy
	if t.OpenFor, t.OpenMax = duration(r.OpenFor), duration(r.OpenMax); !f.Has(at + "open_max") {
		t.OpenMax = max(t.OpenMax, t.OpenFor)
		r.OpenMax = t.OpenMax.String()
	}
	if t.OpenMax < t.OpenFor {
		return f.Errorf(at+"open_max", "got %q", t.OpenMax)
	}
	t.Anyone, t.Cut, t.Addresses = r.OpenTo == "anyone", r.Connections == "cut", r.MaxAddresses
	return nil
}

// conflicts returns an error if another service has the same name, or the same
// address and port.
func (s *Service) conflicts(f *tomlfile.File, at string, others []Service) error {
	for i := range others {
		other := &others[i]
		own, theirs := s.overlaps(other)
		switch {
		case other.Name == s.Name:
			return f.Errorf(at+"name", "got %q, the name of another service", s.Name)
		case own != "" && (s.Several() || other.Several()):
			return f.Errorf(at+"listen", "got %q for service %s, which shares ports with %q of service %s", own, s.Name, theirs, other.Name)
		case own != "":
			return f.Errorf(at+"listen", "got %q, which service %s already uses", s.Listen, other.Name)
		}
	}
	return nil
}

// ID returns the service's identifier in messages between server and holder.
func (s *Service) ID() access.ServiceID { return access.ID(s.Name) }

// Port returns the port on which the service listens, the first of several; 0: it has
// none, or its port rotates.
func (s *Service) Port() uint16 {
	if !s.HasPort() {
		return 0
	}
	return s.listens()[0].ports.First
}

// Host returns the address on which the service listens, that of the first of
// several ports; zero: all of this host, or none.
func (s *Service) Host() netip.Addr {
	if !s.HasPort() {
		return netip.Addr{}
	}
	return s.listens()[0].address()
}

// Addresses returns the addresses on which the service listens; nil: on all, or it has
// no port.
func (s *Service) Addresses() (all udp.Addresses) {
	for _, l := range s.listens() {
		a, err := netip.ParseAddr(l.host)
		if err != nil || a == netip.IPv6Unspecified() {
			return nil // no host, or the one for all addresses
		}
		if a = a.Unmap(); !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return all
}

// Protocol returns "tcp" or "udp".
func (s *Service) Protocol() string {
	if s.UDP {
		return "udp"
	}
	return "tcp"
}

// HasPort reports whether clients connect to the service. A service of commands only
// has no port, no listener and no rule of the firewall.
func (s *Service) HasPort() bool { return s.Listen != "" }

// Describe describes the service in a line.
func (s *Service) Describe() string {
	if !s.HasPort() {
		return s.describeCommands()
	}
	peer := "the address that knocked"
	if s.Policy.Anyone {
		peer = "anyone"
	} else if text := s.prefixText(); text != "" {
		peer += " (" + text + ")"
	} else if s.RequireISN {
		peer += " with its sequence number"
	}
	longer := ""
	if s.Policy.OpenMax > s.Policy.OpenFor && !s.RequireISN { // no sequence extends the lease of another
		longer = fmt.Sprintf(" (further sequences extend it, to %s at most)", durations.Short(s.Policy.OpenMax))
	}
	then := "keeps connections"
	if s.Policy.Cut {
		then = "cuts connections"
	}
	always := ""
	if trusted := s.Trusted().String(); trusted != "" {
		always = "; always open to " + trusted
	}
	if jump := s.Jump(); jump != "" {
		always += "; new connections run through the chain " + jump
	}
	always += s.bindText()
	return fmt.Sprintf("%s: %s, at %s, opens to %s for %s%s, then %s%s%s",
		s.Name, s.kind.describe(s), s.where(), peer, durations.Short(s.Policy.OpenFor), longer, then, s.commandsText("; "), always)
}

// prefixText describes the prefixes that leases cover; empty: single addresses.
func (s *Service) prefixText() string {
	var all []string
	if s.PrefixLen4 != access.PrefixHost4 {
		all = append(all, fmt.Sprintf("IPv4: its /%d", s.PrefixLen4))
	}
	if s.PrefixLen6 != access.PrefixHost {
		all = append(all, fmt.Sprintf("IPv6: its /%d", s.PrefixLen6))
	}
	return strings.Join(all, ", ")
}

// where describes where clients reach the service.
func (s *Service) where() string {
	if !s.Rotates() {
		return s.Listen
	}
	text := fmt.Sprintf("a port of %s that each minute draws", s.rotation.drawn.Range)
	if !s.Binds() {
		text += ", which leads to " + s.Listen
	} else if a := s.Host(); a.IsValid() {
		text += ", on " + a.String()
	}
	return text
}

// Trusted returns the peers that reach the service without a lease.
func (s *Service) Trusted() firewall.Trusted { return s.kind.trusted() }

func notInName(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_')
}

// orNothing returns a quoted text for an error; "nothing" for an empty one.
func orNothing(text string) string {
	if text == "" {
		return "nothing"
	}
	return fmt.Sprintf("%q", text)
}
