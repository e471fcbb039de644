package profile

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"sallyport/sessions/client"
	"sallyport/sessions/client/profilefile"
)

const several = `port_secret = "port hunter2"
ports = 3
identifier = "com1"
secret = "hunter2"
service = ":22"
[[gateways]]
name = "gw1"
server = "gw1.example"
addresses = ["203.0.113.5"]
[[gateways]]
name = "gw2"
server = "2001:db8::5"
nonce = 7
`

func TestParseGateways(t *testing.T) {
	p, err := parseBoth(t, []byte(several))
	if err != nil {
		t.Fatal(err)
	}
	want := []client.Gateway{
		{Name: "gw1", Server: "gw1.example", Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.5")}},
		{Name: "gw2", Server: "2001:db8::5", FirstNonce: 7},
	}
	if !reflect.DeepEqual(p.Gateways, want) || p.Server != "" {
		t.Errorf("got %+v", p)
	}
	text, err := profilefile.Format(p)
	if err != nil || strings.Contains(string(text), "\nserver = ''") {
		t.Fatalf("%v\n%s", err, text)
	}
	if again, err := parseBoth(t, text); err != nil || !reflect.DeepEqual(again, p) {
		t.Errorf("formatted:\n%s\nparsed: %+v, %v", text, again, err)
	}
	names := map[string]bool{}
	all, err := p.AtGateways(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range all {
		name, _, err := profilefile.NonceNames(t.Context(), one)
		if err != nil {
			t.Fatal(err)
		}
		names[name] = true
	}
	plain, _, err := profilefile.NonceNames(t.Context(), client.Profile{Identifier: p.Identifier, Secret: p.Secret})
	if names[plain] = true; err != nil || len(names) != 3 {
		t.Errorf("gateways share a record of nonces: %v, %v", names, err)
	}
	if _, err := withoutSecret([]byte(several), ""); err != nil {
		t.Errorf("a program that takes the secret over: %v", err)
	}
}

func TestParseGatewaysRefuses(t *testing.T) {
	replace := func(old, new string) string { return strings.Replace(several, old, new, 1) }
	for text, want := range map[string]string{
		"server = \"gate.example\"\n" + several:                              "p.toml:1: server: expected the host name or address of the server, without a port, got it, and also [[gateways]]",
		"nonce = 7\n" + several:                                              "p.toml:1: nonce: ",
		"addresses = [\"203.0.113.5\"]\n" + several:                          "p.toml:1: addresses: ",
		strings.SplitAfter(several, "\":22\"\n")[0]:                          "server: expected the host name or address of the server, without a port, got nothing",
		replace(`"gw2"`, `"gw1"`):                                            `gateways: expected 1 to 16 [[gateways]] tables, got an invalid one (number 2): the name "gw1" occurs twice`,
		replace(`"gw2"`, `"g/w"`):                                            `expected the name of a gateway: letters, digits, dots, hyphens and underscores, 1 to 64, got "g/w"`,
		replace(`name = "gw2"`, ""):                                          "expected the name of a gateway",
		replace(`server = "gw1.example"`, ""):                                `expected the host name or address of the server of gateway gw1, got ""`,
		replace(`"gw1.example"`, `"$(id)"`):                                  `got "$(id)"`,
		replace(`"203.0.113.5"`, `"203.0.113.300"`):                          `which is not an address (entry 1), in gateway "gw1"`,
		replace(`nonce = 7`, `colour = 3`):                                   `unknown key`,
		replace(`nonce = 7`, `nonce = -1`):                                   "nonce: expected the first nonce of a device",
		several + strings.Repeat("[[gateways]]\nname = \"x\"\n", 15):         "gateways: expected 1 to 16 [[gateways]] tables, got 17",
		strings.Replace(several, "secret = \"hunter2\"", "secret = \"\"", 1): "secret: ",
	} {
		_, err := parseBoth(t, []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
}
