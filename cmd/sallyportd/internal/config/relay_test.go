package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	testRelayKey = "0123456789abcdef0123456789abcdef"
	relayText    = fleetText + `
relay = ["gateway1=10.0.0.1:900", "gateway2=[fd00::2]:1024"]
relay_key_file = "relay.key"
[challenge]
[challenge.request]
data_bits = 8
[[operation]]
id = "open-it"
secret = "the secret"
service = "web"
`
)

// TestRelay: the relay has the gateways and the key of the configuration. The key requires a
// restart, as the list does; no error and no text has it.
func TestRelay(t *testing.T) {
	dir := files(t, map[string]string{"c.toml": minimal + relayText, "password": "swordfish\n", "relay.key": testRelayKey + "\n"})
	path := filepath.Join(dir, "c.toml")
	c := must(Load(path, Secrets))
	r := c.Fleet.Relay
	if len(r.Gateways) != 2 || r.Gateways["gateway2"].String() != "[fd00::2]:1024" || r.Rate != 20_000 || r.PrivateRelay() != nil {
		t.Errorf("got %+v", r)
	}
	if !c.Needs(Host{FirstOpenPort: 1024}).LowPorts || c.Needs(Host{FirstOpenPort: 900}).LowPorts {
		t.Error("port 900 requires CAP_NET_BIND_SERVICE, and only below the first open port")
	}
	if text := fmt.Sprintf("%v %+v %#v %s", r, r, r, r.Key); strings.Contains(text, testRelayKey) {
		t.Error("the key is printed")
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "relay.key"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("another key of at least 32 characters\n")
	refused := func(what string, err error, want, secret string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	refused("another key", c.Changed(must(Load(path, Secrets)), false), "fleet.relay_key_file", "another")
	write("too short\n")
	_, err := Load(path, Secrets)
	refused("a short key", err, "at least 32 characters, got 9", "too short")
	without := strings.Replace(minimal+relayText, "relay = [", "# ", 1)
	without = strings.Replace(without, "relay_key_file", "# ", 1)
	path = filepath.Join(dir, "without.toml")
	if err := os.WriteFile(path, []byte(without), 0o600); err != nil {
		t.Fatal(err)
	}
	refused("no relay", c.Changed(must(Load(path, Secrets)), false), "fleet.relay", testRelayKey)
}

func TestRelayRefuses(t *testing.T) {
	for _, row := range []struct{ old, new, want string }{
		{`, "gateway2=[fd00::2]:1024"`, "", "expected 2 to 16 gateways, got 1"},
		{"gateway2=[fd00::2]:1024", "gateway2=gw2.example:1024", `got "gateway2=gw2.example:1024" (entry 2)`},
		{"gateway2=[fd00::2]:1024", "gate/2=[fd00::2]:1024", "(entry 2)"},
		{"gateway2=[fd00::2]:1024", "gateway1=[fd00::2]:1024", `the name "gateway1" twice`},
		{"gateway2=[fd00::2]:1024", "gateway2=10.0.0.1:900", "have the same address"},
		{"gateway2=[fd00::2]:1024", "gateway2=0.0.0.0:1024", "expected an address and a port of gateway gateway2"},
		{"gateway2=[fd00::2]:1024", "gateway2=10.0.0.2:0", "expected an address and a port of gateway gateway2"},
		{"gateway1=10.0.0.1", "gateway3=10.0.0.1", `expected one with the name "gateway1"`},
		{"relay_key_file", "# ", "relay_key_file: expected the path"},
		{"relay = [", "# ", "got relay_key_file without it"},
		{"relay_key_file", "relay_packets_per_second = 99\nrelay_key_file", "from 100 to 1000000"},
		{relayText[strings.Index(relayText, "[challenge]"):], "", "without exchanges by packets"},
		{"[challenge]\n[challenge.request]\ndata_bits = 8", "[challenge]\ncapture = \"sockets\"\nports = \"300-999\"\n[challenge.response]\nbase = 640\ndata_bits = 2\n[challenge.request]\ndata_bits = 2", "which the server binds"},
		{"[challenge]\n[challenge.request]\ndata_bits = 8", "[challenge]\nports = \"1024-40000\"\n[challenge.request]\ndata_bits = 14\nscheme = \"delays\"\ndelay = \"50ms\"", "whose requests over IPv4 have only 3 packets"},
	} {
		text := minimal + strings.Replace(relayText, row.old, row.new, 1)
		if text == minimal+relayText {
			t.Fatalf("the text does not contain %q", row.old)
		}
		text = strings.Replace(text, `id = "open-it"`, "id = \"open1\"\nalgorithm = 1\nport = \"random\"", 1)
		if _, err := Parse("c.toml", []byte(text)); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v, want %q", row.new, err, row.want)
		}
	}
}
