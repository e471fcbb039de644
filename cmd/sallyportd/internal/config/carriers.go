package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/internal/secretfile"
	"sallyport/cmd/internal/tomlfile"
	carriers "sallyport/ingest/web"
	"sallyport/sessions/client"
	"sallyport/sessions/gate/access"
	"sallyport/verify/schedule"
)

// maxHTTP is how many [[challenge.http]] tables a configuration may have.
const maxHTTP = 16

// HTTP is a [[challenge.http]]: a listener whose requests carry exchanges. To strangers
// it is a web site.
type HTTP struct {
	Listen      string // host:port, or :port
	Host        string // of the URL, in lower case
	Proxies     carriers.Proxies
	ProxyUser   string // whose connections from Proxies count; empty: all do
	Connections int    // at a time
	// Unproved is the status of the answer to all requests that draw no challenge, for
	// the web server before this one; 0: they get the site.
	Unproved int
	Pages    string // the directory of pages that knock; empty: none

	// Tunnel: after an exchange, the listener takes connections to its service.
	Tunnel bool

	root, upstream string // of the site; both empty: a 404
	files          secretfile.Rules
	cert, key      string // empty: no TLS
}

// DNS is the [challenge.dns] table: where the server answers the queries for a zone.
type DNS struct {
	Listen        string // host:port, or :port; UDP and TCP
	Zone          carriers.Zone
	Amplification int
	Answers       int // a second
}

// TLS reports whether the listener speaks TLS.
func (h *HTTP) TLS() bool { return h.cert != "" }

// Address returns the address of the listener; zero: all of this host.
func (h *HTTP) Address() netip.Addr {
	l, _ := parseListen(h.Listen)
	return l.address()
}

// Proxied reports whether another web server has the site, to which the server connects.
func (h *HTTP) Proxied() bool { return h.upstream != "" }

// SiteAt returns the host and the port of the web server that has the site; empty: none.
func (h *HTTP) SiteAt() (host, port string) {
	if h.upstream == "" {
		return "", ""
	}
	u, _ := url.Parse(h.upstream) // it was checked
	at := siteAddress(u)
	return at.host, at.port
}

// Port returns the port of the listener.
func (h *HTTP) Port() uint16 { return portOf(h.Listen).First }

// HTTP returns the listeners for exchanges over HTTP.
func (c *Config) HTTP() []HTTP {
	if c.Challenge == nil {
		return nil
	}
	return c.Challenge.HTTP
}

// publicHTTP is the first listener for exchanges over HTTP that clients can reach: it has TLS,
// or a trusted proxy, which does TLS at port 443. nil: there is none.
func (c *Config) publicHTTP() *HTTP {
	for i := range c.HTTP() {
		if h := &c.HTTP()[i]; h.URL() != "" {
			return h
		}
	}
	return nil
}

// URL returns the URL at which clients reach publicHTTP; empty: there is none.
func (c *Config) URL() string {
	if h := c.publicHTTP(); h != nil {
		return h.URL()
	}
	return ""
}

// Tunnel reports whether connections to services can go through the URL.
func (c *Config) Tunnel() bool {
	h := c.publicHTTP()
	return h != nil && h.Tunnel
}

// urlHost returns a host as a URL without a port has it.
func urlHost(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// DNS returns the listener for exchanges over DNS; nil: there is none.
func (c *Config) DNS() *DNS {
	if c.Challenge == nil {
		return nil
	}
	return c.Challenge.DNS
}

// CarrierListener is a socket of a carrier.
type CarrierListener struct {
	Key    string // of its table: "challenge.http.0"
	Listen string
	UDP    bool
}

// Name names the listener to people, and at the admin socket. No service has such a name,
// because it contains a space.
func (l CarrierListener) Name() string {
	return fmt.Sprintf("[%s] at %s", strings.TrimRight(l.Key, ".0123456789"), l.Listen)
}

// CarrierListeners returns the sockets of all carriers.
func (c *Config) CarrierListeners() (all []CarrierListener) {
	for i := range c.HTTP() {
		all = append(all, CarrierListener{Key: httpKey(i), Listen: c.Challenge.HTTP[i].Listen})
	}
	if d := c.DNS(); d != nil {
		all = append(all, CarrierListener{dnsKey, d.Listen, true}, CarrierListener{dnsKey, d.Listen, false})
	}
	return all
}

// CarrierPorts returns the ports of carriers.
func (c *Config) CarrierPorts() []access.Ports {
	return append(c.carrierPorts(false), c.carrierPorts(true)...)
}

// carrierPorts returns the ports of carriers, of TCP or UDP.
func (c *Config) carrierPorts(udp bool) (ports []access.Ports) {
	for _, l := range c.CarrierListeners() {
		if l.UDP == udp {
			ports = append(ports, portOf(l.Listen))
		}
	}
	return ports
}

const dnsKey = "challenge.dns"

func httpKey(i int) string { return fmt.Sprintf("challenge.http.%d", i) }

// portOf returns the port of a text that parseCarrierListen has accepted.
func portOf(listen string) access.Ports {
	l, _ := parseListen(listen)
	return l.ports
}

func parseCarrierListen(f *tomlfile.File, key, text string) error {
	l, err := parseListen(text)
	if err != nil {
		return f.Errorf(key, "%v", err)
	}
	if l.ports.Len() != 1 || l.ports.First == 0 {
		return f.Errorf(key, "got %q", text)
	}
	return nil
}

// carriers checks the tables of carriers.
func (in *rawChallenge) carriers(f *tomlfile.File, c *Config, ch *Challenge) error {
	if len(in.HTTP) > maxHTTP {
		return f.Errorf("challenge.http", "got %d", len(in.HTTP))
	}
	for i := range in.HTTP {
		h, err := in.HTTP[i].http(f, httpKey(i)+".", filepath.Dir(c.Path))
		if err != nil {
			return err
		}
		h.files = c.SecretFiles
		ch.HTTP = append(ch.HTTP, h)
	}
	if !f.Has(dnsKey) {
		return nil
	}
	d, err := in.DNS.dns(f)
	ch.DNS = &d
	return err
}

func (r *rawHTTP) http(f *tomlfile.File, at, dir string) (h HTTP, err error) {
	if err := fill(f, r, at, ""); err != nil {
		return h, err
	}
	h = HTTP{
		Listen: r.Listen, Connections: r.Connections, Unproved: r.Unproved, Tunnel: r.Tunnel, root: resolve(dir, r.Root), upstream: r.Upstream,
		cert: resolveSecret(dir, r.TLSCert), key: resolveSecret(dir, r.TLSKey), Pages: resolve(dir, r.Pages),
	}
	if err := parseCarrierListen(f, at+"listen", r.Listen); err != nil {
		return h, err
	}
	h.Host = strings.ToLower(strings.TrimSuffix(r.Host, "."))
	if !client.ValidHost(h.Host) || strings.Contains(h.Host, "%") {
		return h, f.Errorf(at+"host", "got %q", r.Host)
	}
	switch {
	case (r.TLSCert == "") != (r.TLSKey == ""):
		missing := at + "tls_key"
		if r.TLSCert == "" {
			missing = at + "tls_cert"
		}
		return h, f.Errorf(missing, "got one without the other")
	case f.Has(at+"root") && f.Has(at+"upstream"):
		return h, f.Errorf(at+"upstream", "got root as well; only one of the two is allowed")
	case f.Has(at+"unproved") && (f.Has(at+"root") || f.Has(at+"upstream")):
		return h, f.Errorf(at+"unproved", "got a site as well, in root or upstream; only one of the two is allowed")
	case f.Has(at+"unproved") && f.Has(at+"pages"):
		return h, hint.With(f.Errorf(at+"pages", "got unproved as well; only one of the two is allowed"),
			"the web server before this one has the site: put the pages there")
	case f.Has(at+"root") && r.Root == "":
		return h, f.Errorf(at+"root", "got nothing")
	case f.Has(at+"pages") && r.Pages == "":
		return h, f.Errorf(at+"pages", "got nothing")
	case r.Root != "" && r.Pages != "" && within(h.Pages, h.root):
		return h, hint.With(f.Errorf(at+"pages", "got %q, which is in root", r.Pages),
			"strangers get lists of the directories in root: choose a directory elsewhere")
	case f.Has(at+"proxy_header") && len(r.TrustedProxies) == 0:
		return h, hint.With(f.Errorf(at+"proxy_header", "got %q without trusted_proxies", r.ProxyHeader),
			"name the addresses of the proxies in trusted_proxies: any other client can write this header itself")
	}
	if f.Has(at + "upstream") {
		if err := checkSite(f, at+"upstream", r.Upstream); err != nil {
			return h, err
		}
	}
	if h.ProxyUser = r.ProxyUser; f.Has(at + "proxy_user") {
		if len(r.TrustedProxies) == 0 {
			return h, hint.With(f.Errorf(at+"proxy_user", "got %q without trusted_proxies", r.ProxyUser),
				"name the addresses of the proxies in trusted_proxies")
		}
		if err := checkUser(f, at+"proxy_user", r.ProxyUser); err != nil {
			return h, err
		}
	}
	for i, text := range r.TrustedProxies {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return h, f.Errorf(at+"trusted_proxies", "got %q (entry %d)", text, i+1)
		}
		h.Proxies.Trusted = append(h.Proxies.Trusted, p.Masked())
	}
	if len(h.Proxies.Trusted) > 0 {
		h.Proxies.Header = r.ProxyHeader
	}
	return h, nil
}

// within reports whether a path is that of a directory, or below it.
func within(path, dir string) bool {
	between, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(between)
}

// checkSite checks the URL of the server of a site.
func checkSite(f *tomlfile.File, key, text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Opaque != "" ||
		u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || !client.ValidHost(u.Hostname()) {
		return f.Errorf(key, "got %q", text)
	}
	if _, err := net.LookupPort("tcp", siteAddress(u).port); err != nil || u.Port() == "0" {
		return f.Errorf(key, "got %q", text)
	}
	return nil
}

// siteAt is where the server of a site listens.
type siteAt struct{ host, port string }

func siteAddress(u *url.URL) siteAt {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return siteAt{u.Hostname(), port}
}

func (r *rawDNS) dns(f *tomlfile.File) (d DNS, err error) {
	const at = dnsKey + "."
	for _, key := range []string{"listen", "zone", "servers"} {
		if !f.Has(at + key) {
			return d, f.Errorf(at+key, "got nothing")
		}
	}
	d = DNS{
		Listen: r.Listen, Zone: carriers.Zone{Name: strings.ToLower(strings.TrimSuffix(r.Zone, "."))},
		Amplification: r.Amplification, Answers: r.Answers,
	}
	if err := parseCarrierListen(f, at+"listen", r.Listen); err != nil {
		return d, err
	}
	for _, s := range r.Servers {
		d.Zone.Servers = append(d.Zone.Servers, strings.ToLower(strings.TrimSuffix(s, ".")))
	}
	trial := carriers.Zone{Name: d.Zone.Name, Servers: []string{"sallyport.invalid"}}
	if err := trial.Validate(); err != nil {
		return d, f.Errorf(at+"zone", "got %q: %v", r.Zone, err)
	}
	if err := d.Zone.Validate(); err != nil {
		return d, f.Errorf(at+"servers", "got %q: %v", r.Servers, err)
	}
	if p := portOf(d.Listen).First; p >= schedule.MinPort {
		return d, hint.With(f.Errorf(at+"listen", "got %q, whose UDP port is one of those of knocks, %d to %d", r.Listen, schedule.MinPort, schedule.MaxPort),
			"resolvers ask at port 53: set listen = \":53\"")
	}
	return d, nil
}

// checkCarriers rejects ports of carriers that something else of the server has.
func (ch *Challenge) checkCarriers(f *tomlfile.File, c *Config) error {
	all := c.CarrierListeners()
	packets, overTCP := ch.PacketPorts(), ch.Answers != nil
	for i, l := range all {
		port, protocol := portOf(l.Listen), map[bool]string{false: "TCP", true: "UDP"}[l.UDP]
		used := func(by string, args ...any) error {
			return f.Errorf(l.Key+".listen", "got %q, whose %s port %s", l.Listen, protocol, fmt.Sprintf(by, args...))
		}
		if s, _ := c.serviceIn(port, l.UDP); s != nil {
			return hint.With(used("service %s already uses", s.Name),
				"choose another port for one of the two: the service's is closed to strangers, and this one answers them")
		}
		switch {
		case access.AnyHas(c.processPorts(l.UDP), port.First):
			return used("the program of a service already uses")
		case overTCP != l.UDP && packets.IsValid() && packets.Overlaps(port):
			return used("is one of the ports %s of requests and responses", packets)
		case !l.UDP && overTCP && ch.Answers.Port == port.First:
			return used("is answer_port")
		case slices.ContainsFunc(all[:i], func(o CarrierListener) bool { return o.UDP == l.UDP && sameAddress(o.Listen, l.Listen) }):
			return used("another table of [challenge] already uses")
		}
	}
	for i := range ch.HTTP {
		if u, err := url.Parse(ch.HTTP[i].upstream); err == nil && u.Host != "" {
			if err := checkSiteLoop(f, httpKey(i)+".upstream", u, c, all); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkSiteLoop rejects a site that is a listener of this server.
func checkSiteLoop(f *tomlfile.File, key string, u *url.URL, c *Config, all []CarrierListener) error {
	site := siteAddress(u)
	upstream := net.JoinHostPort(site.host, site.port)
	if s := proxyAt(c.Services, upstream); s != nil {
		return f.Errorf(key, "got %q, the via_port of service %s, where only connections of its clients get in", u, s.Name)
	}
	port, _ := strconv.Atoi(site.port)
	for _, l := range all {
		own, _ := parseListen(l.Listen)
		if l.UDP || int(own.ports.First) != port {
			continue
		}
		for _, a := range upstreamAddresses(site.host) {
			if at := own.address(); at == a || !at.IsValid() && a.IsLoopback() {
				return f.Errorf(key, "got %q, which leads back to %s of this server", u, l.Listen)
			}
		}
	}
	return nil
}

// sameAddress reports whether two listeners have the same port of an address.
func sameAddress(a, b string) bool {
	x, _ := parseListen(a)
	y, _ := parseListen(b)
	return x.ports == y.ports && (!x.address().IsValid() || !y.address().IsValid() || x.address() == y.address())
}
