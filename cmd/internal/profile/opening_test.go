package profile

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"sallyport/sessions/client"
	"sallyport/sessions/client/profilefile"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

const opening = good + `addresses = ["203.0.113.5", "2001:db8::5", "fe80::1%eth0", "::ffff:192.0.2.1"]
open_for = "90s"
handshake = "granted"
`

func TestParseOpening(t *testing.T) {
	p, err := parseBoth(t, []byte(opening))
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, a := range p.Addresses {
		texts = append(texts, a.String())
	}
	if got := strings.Join(texts, " "); got != "203.0.113.5 2001:db8::5 fe80::1%eth0 192.0.2.1" {
		t.Errorf("addresses: %s", got)
	}
	if p.OpenFor != 90*time.Second || p.Handshake != client.HandshakeGranted {
		t.Errorf("%s, %q", p.OpenFor, p.Handshake)
	}
	text, err := profilefile.Format(p)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := parseBoth(t, text); err != nil || !reflect.DeepEqual(again, p) {
		t.Errorf("%s became %+v (%v)", text, again, err)
	}
}

// TestExpires: in UTC and whole seconds, and only for the sequence protocol.
func TestExpires(t *testing.T) {
	p, err := parseBoth(t, []byte(good+"expires = \"2026-12-31T01:00:00.9+01:00\"\n"))
	if err != nil || p.Expires != time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC) {
		t.Errorf("%v, %v", p.Expires, err)
	}
	text, err := profilefile.Format(p)
	if err != nil || !strings.Contains(string(text), "expires = '2026-12-31T00:00:00Z'") {
		t.Errorf("%s, %v", text, err)
	}
	if again, err := parseBoth(t, text); err != nil || !reflect.DeepEqual(again, p) {
		t.Errorf("%s became %+v (%v)", text, again, err)
	}
	for _, value := range []string{`"2026-12-31"`, `""`, `"soon"`, "2026-12-31T00:00:00Z", `"0001-01-01T00:00:00Z"`} {
		_, err := parseBoth(t, []byte(good+"expires = "+value+"\n"))
		if err == nil || !strings.Contains(err.Error(), "expected from when on the server refuses the client") {
			t.Errorf("%s: %v", value, err)
		}
	}
}

// TestFormat: the keys, and their order, of a profile and of an operation's profile.
func TestFormat(t *testing.T) {
	p, err := parseBoth(t, []byte(opening+"nonce = 7\n"))
	if err != nil {
		t.Fatal(err)
	}
	const want = `version = 1
server = 'gate.example'
addresses = ['203.0.113.5', '2001:db8::5', 'fe80::1%eth0', '192.0.2.1']
port_secret = 'port hunter2'
ports = 3
generator = 'algorithm1'
identifier = 'com1'
secret = 'hunter2'
service = ':22'
open_for = '1m30s'
handshake = 'granted'
nonce = 7
`
	if text, err := profilefile.Format(p); err != nil || string(text) != want {
		t.Errorf("got\n%s\nwant\n%s(%v)", text, want, err)
	}
	const operation = `version = 1
server = 'gate.example'
addresses = ['203.0.113.5']

[challenge]
operation = 'ssh-alice'
secret = 'a secret'
algorithm = 2
service = ':22'
open_for = '1m'
handshake = 'granted'
`
	o := profilefile.Operation{
		Server: "gate.example", Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.5")},
		ID: "ssh-alice", Secret: "a secret", Algorithm: exchange.NATAware, Service: ":22",
		OpenFor: time.Minute, Handshake: client.HandshakeGranted,
		Request:  challenge.Encoding{Scheme: challenge.Ranges, Base: 16384, DataBits: 8},
		Response: challenge.Encoding{Scheme: challenge.Ranges, Base: 25600, DataBits: 8},
	}
	text, err := profilefile.FormatOperation(o)
	if err != nil || !strings.HasPrefix(string(text), operation+"\n[challenge.request]\n") {
		t.Errorf("got\n%s\nwant\n%s(%v)", text, operation, err)
	}
	got, err := parseBoth(t, text)
	if err != nil || !reflect.DeepEqual(got.Addresses, o.Addresses) || got.Challenge.OpenFor != o.OpenFor || got.Challenge.Handshake != o.Handshake {
		t.Errorf("%+v, %v", got, err)
	}
	for old, want := range map[string]string{
		"open_for = '1m'\n":       "open_for = '1ms'\n",
		"handshake = 'granted'":   "handshake = 'yes'",
		"service = ':22'\n":       "",
		"addresses = ['203.0.113": "addresses = ['256.0.113",
		"\n[challenge]\n":         "open_for = '1m'\n[challenge]\n",
	} {
		if p, err := parseBoth(t, []byte(strings.Replace(string(text), old, want, 1))); err == nil {
			t.Errorf("%q in place of %q: accepted as %+v", want, old, p)
		}
	}
}

func TestParseOpeningRefuses(t *testing.T) {
	addresses := func(list string) string { return good + "addresses = [" + list + "]\n" }
	const list = `p.toml:7: addresses: expected a list of at most 8 addresses of the server in quotes, such as ["203.0.113.5", "2001:db8::5"], `
	for text, want := range map[string]string{
		addresses(``):                            "",
		addresses(`"10.0.0.1"`):                  "",
		addresses(`"fe80::1"`):                   "",
		addresses(`"gate.example"`):              list + `got "gate.example", which is not an address (entry 1)`,
		addresses(`"192.0.2.1:22"`):              list + `got "192.0.2.1:22", which is not an address (entry 1)`,
		addresses(`"192.0.2.1", "::"`):           list + `got "::", which is no host's address (entry 2)`,
		addresses(`"0.0.0.0"`):                   list + `got "0.0.0.0", which is no host's address (entry 1)`,
		addresses(`"224.0.0.1"`):                 list + `got "224.0.0.1", which is the address of several hosts (entry 1)`,
		addresses(`"ff02::1%eth0"`):              list + `got "ff02::1%eth0", which is the address of several hosts (entry 1)`,
		addresses(`"255.255.255.255"`):           list + `got "255.255.255.255", which is the address of several hosts`,
		addresses(`"127.0.0.1"`):                 list + `got "127.0.0.1", which is an address of the client's own host (entry 1)`,
		addresses(`"::1"`):                       list + `got "::1", which is an address of the client's own host (entry 1)`,
		addresses(`"::ffff:127.0.0.1"`):          list + `got "127.0.0.1", which is an address of the client's own host (entry 1)`,
		addresses(`"fe80::1%$(id)"`):             list + `got "fe80::1%$(id)", whose zone is not valid (entry 1)`,
		addresses(`"2001:db8::1%eth0"`):          list + `got "2001:db8::1%eth0", whose zone is not valid (entry 1)`,
		addresses(`"1.2.3.4", "1.2.3.4"`):        list + `got "1.2.3.4", a second time (entry 2)`,
		addresses(`"1.2.3.4", "::ffff:1.2.3.4"`): list + `got "1.2.3.4", a second time (entry 2)`,
		addresses(`"192.0.2.1", 3`):              `p.toml:7: addresses: expected a list of at most 8 addresses`,
		addresses(`"1.0.0.1", "1.0.0.2", "1.0.0.3", "1.0.0.4", "1.0.0.5", "1.0.0.6", "1.0.0.7", "1.0.0.8"`):            "",
		addresses(`"1.0.0.1", "1.0.0.2", "1.0.0.3", "1.0.0.4", "1.0.0.5", "1.0.0.6", "1.0.0.7", "1.0.0.8", "1.0.0.9"`): list + `got 9 addresses`,
		strings.Replace(addresses(`"127.0.0.1"`), "gate.example", "127.0.0.53", 1):                                     "",
		strings.Replace(addresses(`"::1"`), "gate.example", "localhost", 1):                                            "",
		strings.Replace(addresses(`"::1"`), "gate.example", "a.LOCALHOST.", 1):                                         "",
		good + `open_for = "1000h"` + "\n":                                                                             "",
		good + `open_for = "900ms"` + "\n":                                                                             `p.toml:7: open_for: expected how long the server keeps the service open, a duration such as "30s", from 1s to 1000h, got "900ms"`,
		good + `open_for = "1001h"` + "\n":                                                                             `open_for: expected`,
		good + `open_for = "-3s"` + "\n":                                                                               `open_for: expected`,
		good + `open_for = "30"` + "\n":                                                                                `got "30" without a unit; write "30s"`,
		good + `open_for = ""` + "\n":                                                                                  `open_for: expected`,
		good + `open_for = 30` + "\n":                                                                                  `p.toml:7: open_for: expected`,
		good + `handshake = ""` + "\n":                                                                                 `p.toml:7: handshake: expected "granted", for a TCP service, got ""`,
		good + `handshake = "anyone"` + "\n":                                                                           `p.toml:7: handshake: expected "granted", for a TCP service, got "anyone"`,
		strings.Replace(good, ":22", ":22/udp", 1) + `handshake = "granted"`:                                           `p.toml:7: handshake: expected "granted", for a TCP service, got "granted" without the key service, or with a UDP service`,
		strings.Replace(good, "service = \":22\"\n", `handshake = "granted"`, 1):                                       `got "granted" without the key service`,
	} {
		_, err := parseBoth(t, []byte(text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
}
