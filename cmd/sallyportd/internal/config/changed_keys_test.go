package config

import (
	"slices"
	"strings"
	"testing"
)

// TestChangedKeys: each key whose value has changed is named, of every reload class, and no
// other key.
func TestChangedKeys(t *testing.T) {
	const operation = "[[operation]]\nid = \"ssh-alice\"\nsecret = \"a secret of an operation\"\nservice = \"web\"\n"
	old := minimal + serviceText("ssh", ":22", "firewall") + "[challenge]\n" + operation
	for _, row := range []struct{ old, new, want string }{
		{"ports = 3", "ports = 3", ""},
		{"ports = 3", "ports = 9\ngenerator = \"java\"", "generator,ports"},
		{"ports = 3", "ports = 3\nlog_level = \"debug\"", "log_level"},
		{"ports = 3", "ports = 3\nstealth = true", "stealth"},
		{"ports = 3", "ports = 3\nlog_level = \"info\"", ""}, // the default
		{`type = "web"`, "type = \"web\"\nopen_for = \"20s\"\nroot = \"/x\"", "open_for of service web,root of service web"},
		{`type = "firewall"`, "type = \"firewall\"\nopen_for = \"20s\"", "open_for of service ssh"},
		{`service = "web"`, "service = \"ssh\"", "service of operation ssh-alice"},
		{"a secret of an operation", "another secret of an operation", "secret of operation ssh-alice"},
		{operation, operation + strings.Replace(operation, "alice", "bob", 1), "operation ssh-bob"},
		{"[challenge]", "[challenge]\nexchanges = 1024", "challenge.exchanges"},
	} {
		changed := strings.Replace(old, row.old, row.new, 1)
		var both [2]*Config
		for i, text := range []string{old, changed} {
			var err error
			if both[i], err = Parse("c.toml", []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 { // the way back changes the same
			if got := strings.Join(both[0].ChangedKeys(both[1]), ","); got != row.want {
				t.Errorf("%s: got %q, want %q", row.new, got, row.want)
			}
			slices.Reverse(both[:])
		}
	}
}
