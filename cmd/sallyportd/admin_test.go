package main

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/cmd/internal/profile"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

func TestStrength(t *testing.T) {
	for secret, weak := range map[string]bool{
		"": true, "a": true, "portSecret": true, "com1_secret": true, "password123": true, "correct horse": true,
		"2026-11-22": true, strings.Repeat("a", 64): true, "abcdefghijklmnopqrstuvwxyz": true,
		strings.Repeat("ab", 14): true, strings.Repeat("0123456789abcdef", 4): true,
		randomSecret(): false, "kT9#vQ2$mW7!xR4@pL": false,
	} {
		w := weakness(secret)
		if (w != "") != weak {
			t.Errorf("%q: %.0f bits: %s", secret, strength(secret), w)
		}
		if secret != "a" && secret != "" && strings.Contains(w, secret) {
			t.Errorf("the secret is in %q", w)
		}
	}
	for seconds, want := range map[float64]string{
		0.5: "less than a second", 5: "less than an hour", 4000: "less than a day", 86400 * 3: "some 3 days", 86400 * 365 * 7: "some 7 years",
	} {
		if got := span(seconds); got != want {
			t.Errorf("%v s: %s", seconds, got)
		}
	}
}

func TestRandomIdentifiers(t *testing.T) {
	seen := map[wire.Identifier]bool{}
	for range 1000 {
		id := randomIdentifier()
		if _, err := parseFileIdentifier(id.String()); err != nil {
			t.Fatalf("%q: %v", id, err)
		}
		seen[id] = true
	}
	if len(seen) < 990 { // of 9 million
		t.Errorf("only %d of 1000 are different", len(seen))
	}
	used := []registered{{identifier: randomIdentifier()}}
	if id := unusedIdentifier(used); id == used[0].identifier {
		t.Error("a used identifier")
	}
}

func TestCheckFamilies(t *testing.T) {
	all4, all6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	for _, row := range []struct {
		listen  []netip.Addr
		service string
		want    string
	}{
		{nil, "[::]:80", ""}, {nil, ":80", ""}, {nil, "0.0.0.0:80", ""},
		{[]netip.Addr{all6}, ":80", ""}, {[]netip.Addr{all4, all6}, ":80", ""},
		{[]netip.Addr{all4}, ":80", "connects over IPv6 does not get in"},
		{[]netip.Addr{all4}, "0.0.0.0:80", ""},
		{[]netip.Addr{netip.MustParseAddr("2001:db8::1")}, "192.0.2.1:80", "connects over IPv4 does not get in"},
	} {
		got := strings.Join(checkFamilies(context.Background(), config{listen: row.listen, services: []serviceConfig{{name: "web", listen: row.service}}}), "\n")
		if (got == "") != (row.want == "") || !strings.Contains(got, row.want) {
			t.Errorf("%v, %s: %q", row.listen, row.service, got)
		}
	}
}

func TestPortLists(t *testing.T) {
	cfg := config{ports: 3, portSecret: "now", previous: previousSecret{"before", time.Unix(600, 0)}}
	for m, want := range map[schedule.Minute]int{9: 2, 10: 1, 11: 1} {
		lists, err := cfg.portLists(m)
		if err != nil || len(lists) != want {
			t.Errorf("minute %d: %v, %v", m, lists, err)
		}
	}
}

func TestSetKeys(t *testing.T) {
	keys := [][2]string{{"gone", ""}, {"b", "2"}, {"c", "3"}}
	for text, want := range map[string]string{
		"# x\na = 1\nd = 4\n[t]\nb = 9\n":      "# x\na = 1\nb = 2\nc = 3\nd = 4\n[t]\nb = 9\n",
		"gone = 1\nc = 0\na = 1 # kept\nb=0\n": "c = 3\na = 1 # kept\nb = 2\n",
		"[t]\na = 1\n":                         "",
		"":                                     "",
	} {
		got, err := setKeys(text, "a", keys)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%q: got %q, %v", text, got, err)
		}
	}
}

func TestReloadable(t *testing.T) {
	base := config{path: "c.toml", challenge: &challengeConfig{rate: 1}, services: []serviceConfig{{name: "web", kind: "web", listen: ":80"}}}
	for key, change := range map[string]func(*config){
		"": func(c *config) {
			c.ports, c.portSecret, c.services[0].terms.OpenMax, c.services[0].root = 9, "x", time.Hour, "/x"
			c.operations, c.challenge = []operationConfig{{id: "ssh-alice"}}, &challengeConfig{rate: 1}
		},
		"listen":                 func(c *config) { c.listen = []netip.Addr{netip.IPv4Unspecified()} },
		"readers":                func(c *config) { c.readers = 2 },
		"admin_socket":           func(c *config) { c.adminSocket = "x" },
		"clients":                func(c *config) { c.clientsPath = "x" },
		"stealth":                func(c *config) { c.stealth = true },
		"challenge":              func(c *config) { c.challenge = &challengeConfig{rate: 2} },
		"the number of services": func(c *config) { c.services = append(c.services, serviceConfig{name: "two"}) },
		"name of service web":    func(c *config) { c.services[0].name = "x" },
		"listen of service web":  func(c *config) { c.services[0].listen = ":81" },
		"type of service web":    func(c *config) { c.services[0].kind = "proxy" },
		"look of service web":    func(c *config) { c.services[0].filtered = true },
	} {
		next := base
		next.services = slices.Clone(base.services)
		change(&next)
		err := reloadable(base, next)
		if (err != nil) != (key != "") || err != nil && !strings.Contains(err.Error(), "c.toml: "+key+" has changed") {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// TestReloadWithAHelper: it holds to what it has read.
func TestReloadWithAHelper(t *testing.T) {
	base := config{path: "c.toml", services: []serviceConfig{{name: "ssh", kind: "firewall", listen: ":22"}}}
	for key, change := range map[string]func(*serviceConfig){
		"":         func(s *serviceConfig) { s.terms.OpenFor, s.terms.Addresses = time.Minute, 2 },
		"open_max": func(s *serviceConfig) { s.terms.OpenMax = time.Hour },
		"open_to":  func(s *serviceConfig) { s.terms.Anyone = true },
		"on_close": func(s *serviceConfig) { s.terms.Cut = true },
		"policy":   func(s *serviceConfig) { s.reject = true },
		"hook":     func(s *serviceConfig) { s.forward = true },
	} {
		next := base
		next.services = slices.Clone(base.services)
		change(&next.services[0])
		err := reloadable(base, next)
		if (err != nil) != (key != "") || err != nil && !strings.Contains(err.Error(), "c.toml: "+key+" of service ssh has changed") {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// FuzzImport feeds the text of a properties file: what is made of it is a
// valid profile.
func FuzzImport(f *testing.F) {
	f.Add("server-address=localhost\nport-secret=portSecret\nports=3\nclient-identifier=com1\nclient-shared-secret=com1_secret\nnonce=0\n")
	f.Fuzz(func(t *testing.T, text string) {
		im := importer{weakness: func(string) string { return "" }}
		s, err := im.parse("client.properties", []byte(text), clientKeys...)
		if err != nil {
			return
		}
		made, err := im.client(s)
		if err != nil {
			return
		}
		if _, err := profile.Parse(made.name, []byte(made.text)); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
	})
}
