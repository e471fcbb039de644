package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"sallyport/bench/netns"
	"sallyport/ingest/web"
	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

const testZone = "k.example.com"

// serveDNS is the server of the zone. With tc, it answers no UDP query but by asking for TCP.
func (r *responders) serveDNS(tc bool) netip.AddrPort {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.Fatal(err)
	}
	at := l.Addr().(*net.TCPAddr).AddrPort()
	s, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		r.Fatal(err)
	}
	cfg := web.DNSConfig{
		Zone:      web.Zone{Name: testZone, Servers: []string{"ns1.example.com"}},
		Exchanges: r, Sockets: []*net.UDPConn{s}, Listeners: []net.Listener{l},
	}
	if tc {
		cfg.Amplification = 1
	}
	d, err := web.NewDNS(cfg)
	if err != nil {
		r.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.Run(ctx)
	}()
	r.Cleanup(func() {
		cancel()
		<-done
	})
	return at
}

// resolverAt is a resolver of the system.
func resolverAt(at string) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, at)
	}}
}

func dnsExchange(o *exchange.Operation, resolver string, servers ...string) ExchangeConfig {
	return ExchangeConfig{
		Server: "127.0.0.1", Challenge: Challenge{Operation: o, DNS: testZone, DNSServers: servers},
		Keep: true, Timeout: time.Minute, CarrierTime: time.Minute, Random: rand.Reader, Resolver: resolverAt(resolver),
	}
}

// fakeResolver is one that answers each query as it does, with a text or an error.
func fakeResolver(t *testing.T, code dnsmessage.RCode, text string) string {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 4096)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(b[:n]) != nil {
				continue
			}
			m.Header.Response, m.Header.RecursionAvailable, m.Header.RCode, m.Additionals = true, true, code, nil
			if text != "" {
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Type: dnsmessage.TypeTXT, Class: dnsmessage.ClassINET},
					Body:   &dnsmessage.TXTResource{TXT: []string{text}},
				}}
			}
			if out, err := m.Pack(); err == nil {
				c.WriteTo(out, from)
			}
		}
	}()
	return c.LocalAddr().String()
}

// TestExchangeDNS: by a resolver, directly, over TCP, and past resolvers that answer in the
// server's place.
func TestExchangeDNS(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	for a := exchange.Unilateral; a <= exchange.Mutual; a++ {
		o, err := exchange.NewOperation("open-the-door-16", "the secret", a, true) // two labels
		if err != nil {
			t.Fatal(err)
		}
		r := newResponders(t, o, carrier.DNS, testZone)
		r.opens = "127.0.0.1:30000"
		zone, overTCP := r.serveDNS(false).String(), r.serveDNS(true).String()
		for name, cfg := range map[string]ExchangeConfig{
			"resolver":        dnsExchange(o, zone),
			"tcp":             dnsExchange(o, overTCP),
			"no resolver":     dnsExchange(o, "127.0.0.1:1", zone),
			"refused":         dnsExchange(o, fakeResolver(t, dnsmessage.RCodeRefused, ""), "127.0.0.1:1", zone),
			"NXDOMAIN":        dnsExchange(o, fakeResolver(t, dnsmessage.RCodeNameError, ""), zone),
			"no data":         dnsExchange(o, fakeResolver(t, dnsmessage.RCodeSuccess, ""), zone),
			"text":            dnsExchange(o, fakeResolver(t, dnsmessage.RCodeSuccess, "log in!"), zone),
			"server over TCP": dnsExchange(o, "127.0.0.1:1", overTCP),
		} {
			got, err := Exchange(t.Context(), cfg)
			if err != nil || !got.SingleUse || got.Service.Port() != 30000 || got.Carrier != CarrierDNS || got.Attempts != 1 {
				t.Fatalf("algorithm %d, %s: %+v, %v", a, name, got, err)
			}
			got.Conn.Close()
		}
		if slices.ContainsFunc(r.requested(), func(k carrier.Kind) bool { return k != carrier.RequestConnection }) || len(r.proved()) != 8 {
			t.Errorf("kinds %v, %d proofs", r.requested(), len(r.proved()))
		}
		for _, l := range r.opened {
			l.Close()
		}
	}
}

// TestDNSFaults: what a resolver answers becomes a reason, and no error has a name with a
// message.
func TestDNSFaults(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	o := newOperation(t, exchange.NATAware, true)
	r := newResponders(t, o, carrier.DNS, testZone)
	zone := r.serveDNS(false).String()
	another, err := exchange.NewOperation("another", "the secret", exchange.NATAware, true)
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		cfg    ExchangeConfig
		reason Reason
		hint   string
	}{
		"no operation": {dnsExchange(another, zone), ReasonNoChallenge, "does not have operation \"another\", or not with this algorithm, or no use of it is left"},
		"no resolver":  {dnsExchange(o, "127.0.0.1:1"), ReasonNoResolver, "does not resolve names"},
		"refused":      {dnsExchange(o, fakeResolver(t, dnsmessage.RCodeRefused, "")), ReasonNoResolver, "not delegated"},
		"NXDOMAIN":     {dnsExchange(o, fakeResolver(t, dnsmessage.RCodeNameError, "")), ReasonNoChallenge, "drops queries of this kind"},
		"text":         {dnsExchange(o, fakeResolver(t, dnsmessage.RCodeSuccess, "log in!")), ReasonRewritten, "another resolver"},
	} {
		row.cfg.Attempts = 1
		_, err := Exchange(t.Context(), row.cfg)
		var offline *OfflineError
		if !errors.As(err, &offline) || offline.Reason != row.reason || !strings.Contains(offline.Hint(), row.hint) {
			t.Errorf("%s: %v, reason %q\n%s", name, err, ReasonOf(err), offline.Hint())
		}
		if offline != nil && strings.Contains(strings.ReplaceAll(offline.Hint(), "zone "+testZone, ""), "."+testZone) {
			t.Errorf("%s: a name with a message: %s", name, offline.Hint())
		}
	}
	// For an address, DNS is of no use.
	cfg := dnsExchange(newOperation(t, exchange.NATAware, false), zone)
	cfg.Challenge.Service = ":8080"
	_, err = Exchange(t.Context(), cfg)
	var unsuited *CarrierError
	if !errors.As(err, &unsuited) || !strings.Contains(unsuited.Hint(), "bind = \"connection\"") || !strings.Contains(err.Error(), "a resolver hides this computer's address") {
		t.Errorf("for an address: %v", err)
	}
}

// TestExchangeUnbound: a real resolver, which minimises names, changes the case of letters,
// applies the NXDOMAIN cut and caches.
func TestExchangeUnbound(t *testing.T) {
	path, err := exec.LookPath("unbound")
	if err != nil {
		t.Skip("needs unbound")
	}
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	o := newOperation(t, exchange.Mutual, true)
	r := newResponders(t, o, carrier.DNS, testZone)
	r.opens = "127.0.0.1:30000"
	at := r.serveDNS(false)
	directory := t.TempDir()
	config := filepath.Join(directory, "unbound.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, `
server:
  interface: 127.0.0.1@5301
  directory: "%s"
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  do-daemonize: no
  num-threads: 1
  do-not-query-localhost: no
  module-config: "iterator"
  qname-minimisation: yes
  qname-minimisation-strict: yes
  use-caps-for-id: yes
  harden-below-nxdomain: yes
  domain-insecure: "example.com"
remote-control:
  control-enable: no
stub-zone:
  name: "example.com"
  stub-addr: %s@%d
`, directory, at.Addr(), at.Port()), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(path, "-c", config, "-d")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	netns.Until(t, "the resolver", func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:5301")
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	got, err := Exchange(t.Context(), dnsExchange(o, "127.0.0.1:5301"))
	if err != nil || !got.SingleUse || got.Attempts != 1 || len(r.proved()) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	got.Conn.Close()
}
