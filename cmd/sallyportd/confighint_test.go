package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"sallyport/cmd/internal/cli"
	"sallyport/sessions/clock"
)

func TestWithConfig(t *testing.T) {
	for _, row := range []struct{ hint, path, want string }{
		{`"sallyportd firewall load" closes them now`, "gate/x.toml", `"sallyportd firewall load -c gate/x.toml" closes them now`},
		{`"sallyportd firewall load" closes them now`, defaultConfig, `"sallyportd firewall load" closes them now`},
		{"add one: sallyportd client add", "x.toml", "add one: sallyportd client add -c x.toml"},
		{"run: sallyportd reload; then wait", "x.toml", "run: sallyportd reload -c x.toml; then wait"},
		{"and run: sallyportd confirm", "x.toml", "and run: sallyportd confirm -c x.toml"},
		{"compare it with: sallyportd client profile k7Qx. Otherwise any host can have sent it", "x.toml",
			"compare it with: sallyportd client profile k7Qx -c x.toml. Otherwise any host can have sent it"},
		{`"sallyportd lease list" prints all leases`, "x.toml", `"sallyportd lease list -c x.toml" prints all leases`},
		{`see "sallyportd status"`, "x.toml", `see "sallyportd status -c x.toml"`},
		{"run: sallyportd client list -c a.toml. Then wait", "x.toml", "run: sallyportd client list -c a.toml. Then wait"},
		{"run sallyportd reload.", "x.toml", "run sallyportd reload -c x.toml."},
		{"sallyportd client list -c a.toml", "x.toml", "sallyportd client list -c a.toml"},
		{"make one: sallyportd init DIR; or", "x.toml", "make one: sallyportd init DIR; or"},
		{`systemctl restart sallyportd-firewall`, "x.toml", `systemctl restart sallyportd-firewall`},
		{"\"sallyportd state export\" prints, and \"sallyportd state reset\" makes", "a b's.toml",
			`"sallyportd state export -c 'a b'\''s.toml'" prints, and "sallyportd state reset -c 'a b'\''s.toml'" makes`},
	} {
		if got := withConfig(row.hint, row.path); got != row.want {
			t.Errorf("got  %s\nwant %s", got, row.want)
		}
	}
}

// TestHintsEverywhere: hints of errors, findings and log lines get the configuration.
func TestHintsEverywhere(t *testing.T) {
	const hint, want = `"sallyportd check" finds it`, `"sallyportd check -c x.toml" finds it`
	err := hintsFor("x.toml", cli.Misuse(cli.WithHint(errors.New("broken"), hint)))
	var hinted interface{ Hint() string }
	var misuse interface{ Misuse() }
	if !errors.As(err, &hinted) || hinted.Hint() != want || !errors.As(err, &misuse) {
		t.Errorf("an error: %v", err)
	}
	if list := findingsFor("x.toml", []finding{warn("code", hint, "text")}); list[0].Hint != want {
		t.Errorf("a finding: %v", list)
	}
	var b bytes.Buffer
	log := openLog(cli.Env{Stderr: &b, Clock: clock.System()}, logSettings{path: "x.toml"})
	log.With("service", "web").Warn("broken", "hint", hint, "error", errors.New("reason"))
	log.stop()
	line := b.String()
	if !strings.Contains(line, `-c x.toml`) || !strings.Contains(line, "service=web") || !strings.Contains(line, "reason") {
		t.Errorf("a log line: %s", line)
	}
}
