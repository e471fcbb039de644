package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sallyport/cmd/internal/tomlfile"
	"sallyport/sessions/client"
	"sallyport/sessions/gate"
)

// fileService is a [[service]] as it is written.
type fileService struct {
	Name           string `toml:"name" expect:"a name of letters, digits, dots, hyphens and underscores, in quotes"`
	Type           string `toml:"type" expect:"\"web\", \"proxy\" or \"firewall\""`
	Protocol       string `toml:"protocol" expect:"\"tcp\" or \"udp\"; of a web server \"tcp\""`
	Listen         string `toml:"listen" expect:"host:port or :port, with an IP address for a host"`
	OpenFor        string `toml:"open_for" expect:"a duration such as \"10s\", at least a second"`
	OpenMax        string `toml:"open_max" expect:"a duration such as \"1m\", not shorter than open_for, 1000h at the most"`
	OpenTo         string `toml:"open_to" expect:"\"knocker\" or \"anyone\""`
	OnClose        string `toml:"on_close" expect:"\"keep\" or \"cut\""`
	MaxAddresses   int    `toml:"max_addresses" expect:"how many addresses a client may have open, a whole number from 1 to 1024"`
	GrantPrefix6   int    `toml:"grant_prefix6" expect:"128 or 64"`
	Look           string `toml:"look" expect:"\"filtered\" or \"closed\""`
	MaxConnections int    `toml:"max_connections" expect:"how many connections an address may have, a whole number from 1 to 4096"`
	Root           string `toml:"root" expect:"the path of a directory"`
	TLSCert        string `toml:"tls_cert" expect:"the path of a PEM file with a certificate and those that vouch for it, together with tls_key"`
	TLSKey         string `toml:"tls_key" expect:"the path of a PEM file with the certificate's key, together with tls_cert"`
	Upstream       string `toml:"upstream" expect:"host:port, to which connections are carried"`
	ProxyProtocol  bool   `toml:"proxy_protocol" expect:"true or false, for TCP"`
	Hook           string `toml:"hook" expect:"\"input\" or \"forward\""`
	Policy         string `toml:"policy" expect:"\"drop\" or \"reject\""`
}

// typesOf says which types of services have a key, where not all do.
var typesOf = []struct {
	key   string
	types []string
}{
	{"look", []string{"web", "proxy"}}, {"max_connections", []string{"web", "proxy"}},
	{"root", []string{"web"}}, {"tls_cert", []string{"web"}}, {"tls_key", []string{"web"}},
	{"upstream", []string{"proxy"}}, {"proxy_protocol", []string{"proxy"}},
	{"hook", []string{"firewall"}}, {"policy", []string{"firewall"}},
}

// serviceConfig is a service: everything checked, nothing default.
type serviceConfig struct {
	name, kind  string
	udp         bool
	listen      string
	terms       gate.Terms
	prefixLen6  int
	filtered    bool // look
	connections int

	root            string // empty: the test pages
	tlsCert, tlsKey string // empty: no TLS

	upstream      string
	proxyProtocol bool

	forward, reject bool
}

// port is the one that the service listens on.
func (s serviceConfig) port() uint16 {
	_, port, _ := client.SplitService(s.listen) // it was checked
	return port
}

// host is the address that it listens on; zero: all of this host's.
func (s serviceConfig) host() netip.Addr {
	host, _, _ := client.SplitService(s.listen)
	a, _ := netip.ParseAddr(host) // no host: all
	if a.IsUnspecified() {
		return netip.Addr{}
	}
	return a.Unmap()
}

func (s serviceConfig) protocol() string {
	if s.udp {
		return "udp"
	}
	return "tcp"
}

// validateServices checks what a file says of services.
func validateServices(raw []fileService, f *tomlfile.File) (services []serviceConfig, err error) {
	if len(raw) == 0 || len(raw) > gate.MaxServices {
		return nil, f.Errorf("service", "got %d", len(raw))
	}
	for i, r := range raw {
		at := fmt.Sprintf("service.%d.", i)
		s, err := r.validate(f, at)
		if err != nil {
			return nil, err
		}
		for _, other := range services {
			switch {
			case other.name == s.name:
				return nil, f.Errorf(at+"name", "got %q a second time", s.name)
			case other.udp == s.udp && other.port() == s.port() && (!s.host().IsValid() || !other.host().IsValid() || s.host() == other.host()):
				return nil, f.Errorf(at+"listen", "got %q, which service %s has already", s.listen, other.name)
			}
		}
		services = append(services, s)
	}
	for i := range services {
		if way := circle(services, i, i, make([]bool, len(services))); way != nil {
			return nil, f.Errorf(fmt.Sprintf("service.%d.upstream", i), "got %q, which leads back: to service %s", services[i].upstream, strings.Join(way, ", then to service "))
		}
	}
	return services, nil
}

// circle returns by which services the upstream of one leads to the first, that
// one included; none: it does not.
func circle(services []serviceConfig, at, first int, seen []bool) []string {
	for i, s := range services {
		if seen[i] || !services[at].leadsTo(s) {
			continue
		}
		if i == first {
			return []string{s.name}
		}
		seen[i] = true
		if way := circle(services, i, first, seen); way != nil {
			return append([]string{s.name}, way...)
		}
	}
	return nil
}

// leadsTo reports whether the upstream is where another of our services
// listens, as far as the file tells.
func (s serviceConfig) leadsTo(other serviceConfig) bool {
	host, port, err := client.SplitService(s.upstream)
	return err == nil && s.kind == "proxy" && other.kind != "firewall" && s.udp == other.udp && port == other.port() &&
		slices.ContainsFunc(addresses(host), other.hears)
}

// addresses are those that an upstream's host stands for. Of names only one is
// known without asking.
func addresses(host string) []netip.Addr {
	ipv4, ipv6 := netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()
	if strings.EqualFold(host, "localhost") {
		return []netip.Addr{ipv4, ipv6}
	}
	a, err := netip.ParseAddr(host)
	switch a = a.Unmap(); {
	case err != nil:
		return nil
	case a == netip.IPv4Unspecified(): // to connect there is to connect to oneself
		return []netip.Addr{ipv4}
	case a == netip.IPv6Unspecified():
		return []netip.Addr{ipv6}
	}
	return []netip.Addr{a}
}

// hears reports whether the service listens at an address; if it does at all of
// this host's, we know only the loopback's to be among them.
func (s serviceConfig) hears(a netip.Addr) bool {
	if at := s.host(); at.IsValid() {
		return a == at
	}
	return a.IsLoopback() && (a.Is4() || !strings.HasPrefix(s.listen, "0.0.0.0:"))
}

// unlistenable says why no host has an address for itself; empty: one may.
func unlistenable(a netip.Addr) string {
	switch a = a.Unmap(); {
	case a.IsMulticast():
		return "is a group's"
	case a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "is everybody's"
	case a.Is6() && a.IsLinkLocalUnicast() && a.Zone() == "":
		return "needs its interface behind it, such as " + a.String() + "%eth0"
	}
	return ""
}

func (raw fileService) validate(f *tomlfile.File, at string) (s serviceConfig, err error) {
	if s.name = raw.Name; raw.Name == "" || strings.ContainsFunc(raw.Name, notInName) {
		return s, f.Errorf(at+"name", "got %q", raw.Name)
	}
	if s.kind = raw.Type; raw.Type != "web" && raw.Type != "proxy" && raw.Type != "firewall" {
		return s, f.Errorf(at+"type", "got %q", raw.Type)
	}
	for _, k := range typesOf {
		if f.Has(at+k.key) && !slices.Contains(k.types, s.kind) {
			return s, f.Errorf(at+k.key, "got it for a service of type %q, which has no such key", s.kind)
		}
	}
	if s.udp = raw.Protocol == "udp"; f.Has(at+"protocol") && !s.udp && raw.Protocol != "tcp" || s.udp && s.kind == "web" {
		return s, f.Errorf(at+"protocol", "got %q", raw.Protocol)
	}
	host, _, err := client.SplitService(raw.Listen)
	if err == nil && host != "" {
		var a netip.Addr
		if a, err = netip.ParseAddr(host); err == nil && unlistenable(a) != "" {
			return s, f.Errorf(at+"listen", "got %q: the address %s", raw.Listen, unlistenable(a))
		}
	}
	if s.listen = raw.Listen; err != nil {
		return s, f.Errorf(at+"listen", "got %q", raw.Listen)
	}
	if err := raw.validateTerms(f, at, &s); err != nil {
		return s, err
	}
	return s, raw.validateKind(f, at, &s)
}

func (raw fileService) validateTerms(f *tomlfile.File, at string, s *serviceConfig) (err error) {
	t := &s.terms
	if t.OpenFor, err = f.Duration(at+"open_for", raw.OpenFor, 10*time.Second); err != nil {
		return err
	}
	if t.OpenFor < time.Second {
		return f.Errorf(at+"open_for", "got %q", raw.OpenFor)
	}
	if t.OpenMax, err = f.Duration(at+"open_max", raw.OpenMax, max(time.Minute, t.OpenFor)); err != nil {
		return err
	}
	if t.OpenMax < t.OpenFor || t.OpenMax > 1000*time.Hour {
		return f.Errorf(at+"open_max", "got %q", t.OpenMax)
	}
	if t.Anyone = raw.OpenTo == "anyone"; f.Has(at+"open_to") && !t.Anyone && raw.OpenTo != "knocker" {
		return f.Errorf(at+"open_to", "got %q", raw.OpenTo)
	}
	// A page is fetched in a moment; a login has to outlast the lease.
	if t.Cut = raw.OnClose == "cut" || !f.Has(at+"on_close") && s.kind == "web"; f.Has(at+"on_close") && !t.Cut && raw.OnClose != "keep" {
		return f.Errorf(at+"on_close", "got %q", raw.OnClose)
	}
	if t.Addresses = raw.MaxAddresses; !f.Has(at + "max_addresses") {
		t.Addresses = 8
	} else if t.Addresses < 1 || t.Addresses > 1024 {
		return f.Errorf(at+"max_addresses", "got %d", raw.MaxAddresses)
	}
	if s.prefixLen6 = raw.GrantPrefix6; !f.Has(at + "grant_prefix6") {
		s.prefixLen6 = 128
	} else if s.prefixLen6 != 128 && s.prefixLen6 != 64 {
		return f.Errorf(at+"grant_prefix6", "got %d", raw.GrantPrefix6)
	}
	return nil
}

func (raw fileService) validateKind(f *tomlfile.File, at string, s *serviceConfig) error {
	if s.filtered = raw.Look == "filtered"; f.Has(at+"look") && !s.filtered && raw.Look != "closed" {
		return f.Errorf(at+"look", "got %q", raw.Look)
	}
	if s.connections = raw.MaxConnections; !f.Has(at + "max_connections") {
		s.connections = 64
	} else if s.connections < 1 || s.connections > 4096 {
		return f.Errorf(at+"max_connections", "got %d", raw.MaxConnections)
	}
	if s.root = raw.Root; f.Has(at+"root") && raw.Root == "" {
		return f.Errorf(at+"root", "got nothing")
	}
	if s.tlsCert, s.tlsKey = raw.TLSCert, raw.TLSKey; (raw.TLSCert == "") != (raw.TLSKey == "") {
		missing := at + "tls_key"
		if raw.TLSCert == "" {
			missing = at + "tls_cert"
		}
		return f.Errorf(missing, "got one without the other")
	}
	if s.upstream = raw.Upstream; s.kind == "proxy" {
		if host, _, err := client.SplitService(raw.Upstream); err != nil || host == "" {
			return f.Errorf(at+"upstream", "got %q", raw.Upstream)
		}
	}
	if s.proxyProtocol = raw.ProxyProtocol; raw.ProxyProtocol && s.udp {
		return f.Errorf(at+"proxy_protocol", "got it for UDP")
	}
	if s.forward = raw.Hook == "forward"; f.Has(at+"hook") && !s.forward && raw.Hook != "input" {
		return f.Errorf(at+"hook", "got %q", raw.Hook)
	}
	if s.reject = raw.Policy == "reject"; f.Has(at+"policy") && !s.reject && raw.Policy != "drop" {
		return f.Errorf(at+"policy", "got %q", raw.Policy)
	}
	return nil
}

func notInName(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_')
}
