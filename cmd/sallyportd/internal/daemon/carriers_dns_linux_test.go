package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"testing"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/access"
	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

// lookup asks a resolver on the server's host, and not on the client's, for the TXT
// records of a name.
func lookup(t *testing.T, network, name string) []string {
	t.Helper()
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:53")
	}}
	texts, err := r.LookupTXT(t.Context(), name+"."+zoneName+".")
	var none *net.DNSError
	if err != nil && !(errors.As(err, &none) && none.IsNotFound) {
		t.Fatal(err)
	}
	return texts
}

// byDNS makes an exchange through a resolver.
func (d *dialogue) byDNS(network string) exchange.Answer {
	d.t.Helper()
	send := func(m *carrier.Message) (texts []string) {
		for i := range m.Labels() {
			texts = append(texts, lookup(d.t, network, string(m.AppendLabel(nil, i)))...)
		}
		return texts
	}
	texts := send(d.message(d.kind, d.initiator.Request()))
	if len(texts) != 1 {
		d.t.Fatalf("expected one challenge, got %q", texts)
	}
	challenge, reason := carrier.ParseText(nil, []byte(texts[0]))
	if reason != carrier.Accepted {
		d.t.Fatal(reason)
	}
	m, a := d.respond(challenge)
	if got := send(m); len(got) > 0 {
		d.t.Errorf("a response got %q", got)
	}
	return a
}

var toZone = carrier.ServerOf(carrier.DNS, zoneName)

// TestExchangeOverDNS: an exchange through a resolver, over UDP and TCP, opens a random
// port for one connection, from whatever address.
func TestExchangeOverDNS(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newCarrierWorld(t, carriedOperation("random-web", "port = \"random\""), "")
	for _, network := range []string{"udp", "tcp"} {
		port := newDialogue(t, "random-web", netip.Addr{}, toZone).byDNS(network).Port
		if port == 0 {
			t.Fatal("no port")
		}
		get := func() (status int) {
			w.host.Do(func() error {
				r, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: w.dialAs("198.51.100.3")}}).
					Get(fmt.Sprintf("http://%s:%d/test1.html", server4, port))
				if err == nil {
					status = r.StatusCode
					r.Body.Close()
				}
				return err
			})
			return status
		}
		w.until(t, "the random port", func() bool { return get() == http.StatusOK })
		if get() != 0 {
			t.Errorf("%s: a second connection got in", network)
		}
		if w.reached() {
			t.Errorf("%s: the service's own port is open", network)
		}
	}
	counts := w.server.Counters()
	if counts["dns_challenge"] != 2 || counts["carried_verified"] != 2 {
		t.Errorf("counters: %v", counts)
	}
}

// dialAs dials from an address of the client's host.
func (w *world) dialAs(address string) func(context.Context, string, string) (net.Conn, error) {
	return func(_ context.Context, network, at string) (c net.Conn, err error) {
		err = w.host.Do(func() error {
			c, err = (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).Dial(network, at)
			return err
		})
		return c, err
	}
}

// TestExchangeForConnection: an exchange for a connection, over DNS and over HTTP, opens a
// service with bind = "connection" for any address that proves itself, closes it again,
// and opens no other service.
func TestExchangeForConnection(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	operations := carriedOperation(carriedID, "") + carriedOperation("close-com1", "action = \"close\"")
	for bind, leases := range map[string]int{"connection": 1, "address": 0} {
		t.Run(bind, func(t *testing.T) {
			w := newCarrierWorld(t, operations, fmt.Sprintf("bind = %q", bind))
			open := func() (n int) {
				for _, l := range w.server.gate.Leases() {
					if l.Peer != access.AnyAddress {
						t.Errorf("a lease for %s", l.Peer)
					}
					n++
				}
				return n
			}
			browser := w.browser(false)
			toSite := carrier.ServerOf(carrier.HTTP, siteName)
			for range 2 {
				newDialogue(t, carriedID, netip.Addr{}, toZone).byDNS("udp")
				w.until(t, "the lease", func() bool { return open() == leases })
				newDialogue(t, "close-com1", netip.Addr{}, toSite).byHTTP(browser, "http://"+siteName, true)
				w.until(t, "the end of the lease", func() bool { return open() == 0 })
			}
		})
	}
}
