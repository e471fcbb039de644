package config

import (
	"strings"
	"testing"
)

// TestChanged: a change that requires a restart is an error with its key.
func TestChanged(t *testing.T) {
	old := minimal + serviceText("ssh", ":22", "firewall")
	for _, row := range []struct{ old, new, want string }{
		{"ports = 3", "ports = 9\ngenerator = \"java\"", ""},
		{`type = "web"`, "type = \"web\"\nopen_for = \"20s\"\nroot = \"/x\"", ""},
		{`type = "web"`, "type = \"web\"\nmax_connections = 65", "max_connections of service web"},
		{`type = "web"`, "type = \"web\"\nmax_connections = 64", ""}, // the default
		{`type = "web"`, "type = \"web\"\nopen_max = \"60s\"", ""},   // the default
		{`type = "web"`, "type = \"web\"\nopen_max = \"61s\"", "open_max of service web"},
		{`type = "web"`, "type = \"web\"\ntls_cert = \"c\"\ntls_key = \"k\"", "the use of TLS of service web"},
		{`name = "web"`, `name = "x"`, "name of service web"},
		{serviceText("ssh", ":22", "firewall"), "", "the number of services"},
		{"ports = 3", "ports = 3\nlisten = [\"0.0.0.0\"]", "listen"},
		{`listen = ":22"`, `listen = ":23"`, "listen of service ssh"},
		{"[[service]]", "[challenge]\n[[operation]]\nid = \"ssh-alice\"\nsecret = \"x\"\nservice = \"web\"\n[[service]]", "challenge"},
	} {
		changed := strings.Replace(old, row.old, row.new, 1)
		if changed == old {
			t.Fatalf("the text does not contain %q", row.old)
		}
		var both [2]*Config
		for i, text := range []string{old, changed} {
			var err error
			if both[i], err = Parse("c.toml", []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		err := both[0].Changed(both[1], true)
		text := "c.toml: " + row.want + " has changed, which requires a restart"
		if (err != nil) != (row.want != "") || err != nil && err.Error() != text {
			t.Errorf("%s: got %v, want %s", row.new, err, row.want)
		}
	}
}
