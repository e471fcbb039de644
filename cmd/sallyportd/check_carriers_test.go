package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"sallyport/cmd/sallyportd/internal/config"
)

// fakeResolver has the servers of a zone, and addresses of names.
type fakeResolver struct {
	servers   []string
	err       error
	addresses map[string]string
}

func (r fakeResolver) LookupNS(ctx context.Context, zone string) (all []*net.NS, err error) {
	if r.err == errSilent {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if zone != "k.example.org." {
		return nil, errors.New("another zone: " + zone)
	}
	for _, s := range r.servers {
		all = append(all, &net.NS{Host: s})
	}
	return all, r.err
}

func (r fakeResolver) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if a, ok := r.addresses[host]; ok {
		return []netip.Addr{netip.MustParseAddr(a)}, nil
	}
	return nil, &net.DNSError{Err: "no such host", IsNotFound: true}
}

var errSilent = errors.New("the resolver does not answer")

// TestCheckZone: "check" finds a zone that is not delegated to this host, and waits no
// longer than zoneTime for a resolver that does not answer.
func TestCheckZone(t *testing.T) {
	own := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("203.0.113.5")}
	here := map[string]string{"ns1.example.org.": "203.0.113.5"}
	for _, row := range []struct {
		name     string
		resolver fakeResolver
		code     string
		text     string
	}{
		{"delegated", fakeResolver{servers: []string{"NS1.example.org."}, addresses: here}, "", ""},
		{"one of two is here", fakeResolver{servers: []string{"ns2.example.org.", "ns1.example.org."}, addresses: map[string]string{"ns1.example.org.": "::ffff:192.0.2.1"}}, "", ""},
		{"no such zone", fakeResolver{err: &net.DNSError{IsNotFound: true}}, "zone-not-delegated", "does not exist"},
		{"no servers", fakeResolver{}, "zone-not-delegated", "does not exist"},
		{"other servers", fakeResolver{servers: []string{"ns.other.example."}, addresses: here}, "zone-not-delegated", "delegated to ns.other.example, and not to ns1.example.org, ns2.example.org"},
		{"elsewhere", fakeResolver{servers: []string{"ns1.example.org."}, addresses: map[string]string{"ns1.example.org.": "198.51.100.7"}}, "zone-elsewhere", "ns1.example.org (198.51.100.7), ns2.example.org (not found)"},
		{"a failure", fakeResolver{err: &net.DNSError{Err: "server misbehaving", IsTemporary: true}}, "zone-unknown", "server misbehaving"},
		{"silence", fakeResolver{err: errSilent}, "zone-unknown", "deadline exceeded"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				found := checkZone(t.Context(), "k.example.org", []string{"ns1.example.org", "ns2.example.org"}, own, row.resolver)
				if waited := time.Since(begin); waited > zoneTime {
					t.Errorf("waited %s", waited)
				}
				switch {
				case row.code == "" && len(found) > 0:
					t.Errorf("got %+v", found)
				case row.code != "" && (len(found) != 1 || found[0].Code != row.code || !strings.Contains(found[0].Text, row.text)):
					t.Errorf("got %+v, want %s: %s", found, row.code, row.text)
				}
			})
		})
	}
}

// carrierConfig is a configuration with a listener for exchanges over HTTPS, whose
// certificate is for a name and expires then.
func carrierConfig(t *testing.T, name string, until time.Time, change func(string) string) *config.Config {
	t.Helper()
	public, secret, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: until.Add(-365 * 24 * time.Hour), NotAfter: until,
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, public, secret)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for file, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text := `ports = 3
port_secret = "x"
clients = "c"
[[service]]
name = "web"
type = "web"
listen = ":8080"
[challenge]
capture = "none"
public_address = ["192.0.2.1"]
[[challenge.http]]
listen = ":443"
host = "www.example.org"
tls_cert = "cert.pem"
tls_key = "key.pem"
[[operation]]
id = "web-alice"
secret = "x"
service = "web"
`
	if change != nil {
		text = change(text)
	}
	cfg, err := config.Parse(filepath.Join(dir, "c.toml"), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// TestCheckCarriers: "check" finds certificates that expire or are for another name, and
// listeners without TLS.
func TestCheckCarriers(t *testing.T) {
	now := time.Now()
	codes := func(cfg *config.Config) (all string) {
		for _, f := range checkCarriers(t.Context(), cfg, fakeResolver{addresses: map[string]string{"www.example.org.": "192.0.2.1"}}, fstest.MapFS{}) {
			all += f.Code + " "
		}
		for _, c := range invalidCertificates(cfg, now) {
			all += fmt.Sprintf("%s %t ", c.owner(), now.Before(c.until))
		}
		return all
	}
	plain := func(more string) func(string) string {
		return func(text string) string {
			return strings.Replace(text, "tls_cert = \"cert.pem\"\ntls_key = \"key.pem\"\n", more, 1)
		}
	}
	year := now.Add(365 * 24 * time.Hour)
	for _, row := range []struct {
		name   string
		until  time.Time
		change func(string) string
		want   string
	}{
		{"www.example.org", year, nil, ""},
		{"*.example.org", year, nil, ""},
		{"example.org", year, nil, "certificate-other-host "},
		{"www.example.org", now.Add(29 * 24 * time.Hour), nil, "[[challenge.http]] at :443 true "},
		{"www.example.org", now.Add(-time.Hour), nil, "[[challenge.http]] at :443 false "},
		{"", year, plain(""), "carrier-without-tls "},
		{"", year, plain("trusted_proxies = [\"10.0.0.1/32\"]\n"), ""},
		{"", year, plain("trusted_proxies = [\"10.0.0.1/32\", \"::/0\"]\n"), "proxies-trust-all "},
		{"", year, func(text string) string {
			return strings.Replace(plain("")(text), ":443", "127.0.0.1:8081", 1)
		}, "carrier-proxy-not-trusted "},
		{"", year, func(text string) string {
			return strings.Replace(plain("trusted_proxies = [\"127.0.0.1/32\"]\nunproved = 421\n")(text), ":443", "127.0.0.1:8081", 1)
		}, ""},
		{"", year, plain("trusted_proxies = [\"10.0.0.1/32\"]\nunproved = 421\n"), "unproved-exposed "},
		{"www.example.org", year, func(text string) string {
			return strings.Replace(text, "host =", "unproved = 421\nhost =", 1)
		}, "unproved-exposed carrier-proxy-not-trusted "},
		{"www.example.org", year, func(text string) string {
			return strings.Replace(text, "[challenge]", "[challenge.dns]\nlisten = \":53\"\nzone = \"k.example.org\"\nservers = [\"ns1.example.org\"]\n[challenge]", 1)
		}, "zone-not-delegated "},
	} {
		if got := codes(carrierConfig(t, row.name, row.until, row.change)); got != row.want {
			t.Errorf("%s until %s: got %q, want %q", row.name, row.until, got, row.want)
		}
	}
}

// TestCheckReached: "check" finds a family in which the host has several addresses, and
// the configuration names none of them.
func TestCheckReached(t *testing.T) {
	const unknown = "no exchange over HTTP opens a service for an "
	without := func(text string) string {
		return strings.Replace(text, "public_address = [\"192.0.2.1\"]\n", "", 1)
	}
	for _, row := range []struct {
		own, want string
		change    func(string) string
	}{
		{"192.0.2.1 2001:db8::1 127.0.0.1 ::1 fe80::1", "", without},
		{"192.0.2.1 172.17.0.1 2001:db8::1", unknown + "IPv4 address", without},
		{"192.0.2.1 2001:db8::1 2001:db8::2", unknown + "IPv6 address", without},
		{"192.0.2.1 127.0.0.1 127.0.0.2", "", without},
		{"192.0.2.1 172.17.0.1", unknown + "address", without},
		{"192.0.2.1 172.17.0.1 2001:db8::1", "", nil},
		{"192.0.2.1 172.17.0.1 2001:db8::1", "", func(text string) string {
			return strings.Replace(without(text), "service = \"web\"", "service = \"web\"\nport = \"random\"", 1)
		}},
	} {
		var own []netip.Addr
		for _, text := range strings.Fields(row.own) {
			own = append(own, netip.MustParseAddr(text))
		}
		found := checkReached(carrierConfig(t, "www.example.org", time.Now().Add(time.Hour), row.change), own)
		if row.want == "" && len(found) > 0 || row.want != "" && (len(found) != 1 || !strings.HasSuffix(found[0].Text, row.want)) {
			t.Errorf("%s: got %+v, want %q", row.own, found, row.want)
		}
	}
}
