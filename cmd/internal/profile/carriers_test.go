package profile

import (
	"reflect"
	"strings"
	"testing"

	"sallyport/sessions/client/profilefile"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

// TestCarriers: a profile names a web server and a zone, with and without packets.
func TestCarriers(t *testing.T) {
	o := profilefile.Operation{
		Server: "gate.example", ID: "web-alice", Secret: "hunter2", Algorithm: exchange.NATAware, Service: ":8080",
		HTTPS: "https://www.example.org", DNS: "k.example.org", DNSServers: []string{"ns1.example.org", "192.0.2.1:5353"}, Tunnel: true,
	}
	without, err := profilefile.FormatOperation(o)
	if err != nil || strings.Contains(string(without), "request") {
		t.Fatalf("%v\n%s", err, without)
	}
	o.Request = challenge.Encoding{Scheme: challenge.Ranges, Base: 16384, DataBits: 8}
	o.Response = challenge.Encoding{Scheme: challenge.Ranges, Base: 25600, DataBits: 8}
	with, err := profilefile.FormatOperation(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range [][]byte{with, without} {
		p, err := parseBoth(t, text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		c := p.Challenge
		if c.HTTPS != o.HTTPS || c.DNS != o.DNS || !reflect.DeepEqual(c.DNSServers, o.DNSServers) || !c.Tunnel {
			t.Errorf("%+v", c)
		}
	}
	for old, next := range map[string]string{
		"https://www":   "http://www",
		".example.org'": "..example.org'",
		"'k.":           "'k k.",
		"ns1.":          "ns1 ",
		":5353":         ":0",
		"https =":       "#",
		"dns =":         "#",
	} {
		_, err := parseBoth(t, []byte(strings.Replace(string(without), old, next, 1)))
		if err == nil || !strings.Contains(err.Error(), "challenge.") {
			t.Errorf("%q in place of %q: %v", next, old, err)
		}
	}
	plain := strings.NewReplacer("https =", "# ", "dns =", "# ", "dns_servers =", "# ", "tunnel =", "# ").Replace(string(without))
	if _, err := parseBoth(t, []byte(plain)); err == nil || !strings.Contains(err.Error(), "challenge.request.scheme") {
		t.Errorf("neither packets nor carriers: %v", err)
	}
}
