package main

import (
	"strings"
	"testing"

	"sallyport/cmd/sallyportd/internal/config/configtest"
)

// TestCheckRelay: check warns if the relay address of a gateway is not a private one.
func TestCheckRelay(t *testing.T) {
	const fleet = `
[challenge]
[[operation]]
id = "open-it"
secret = "the secret"
service = "web"
[fleet]
name = "a"
endpoints = ["http://127.0.0.1:2379"]
relay_key_file = "relay.key"
relay = ["a=10.0.0.1:900", "b=ADDRESS"]
`
	for address, want := range map[string]int{"10.0.0.2:900": 0, "[fd00::2]:900": 0, "203.0.113.5:900": 1, "[2001:db8::2]:900": 1} {
		cfg := configtest.Parse(t, "/nonexistent", configtest.Web+strings.Replace(fleet, "ADDRESS", address, 1))
		found := checkRelay(cfg)
		if len(found) != want || want > 0 && found[0].Code != "fleet-relay-public" {
			t.Errorf("%s: %+v", address, found)
		}
	}
}
