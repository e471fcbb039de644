package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config/configtest"
	"sallyport/cmd/sallyportd/internal/secrets"
	"sallyport/sessions/clock"
)

// texts joins findings, a line each.
func texts(list []finding) string {
	var b strings.Builder
	for _, f := range list {
		fmt.Fprintf(&b, "%s: %s; %s\n", f.Code, f.Text, f.Hint)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// envAt is an environment with a clock that has stopped.
func envAt(now time.Time) cli.Env {
	c := clock.System()
	c.Wall = func() time.Time { return now }
	return cli.Env{Clock: c}
}

func TestUnusedIdentifier(t *testing.T) {
	used := clients.List{{Identifier: secrets.RandomIdentifier()}}
	if id := unusedIdentifier(used); id == used[0].Identifier {
		t.Error("a used identifier")
	}
}

func TestCheckFamilies(t *testing.T) {
	for _, row := range []struct{ listen, service, want string }{
		{"", "[::]:80", ""}, {"", ":80", ""}, {"", "0.0.0.0:80", ""},
		{`"::"`, ":80", ""}, {`"0.0.0.0", "::"`, ":80", ""},
		{`"0.0.0.0"`, ":80", "connections over IPv6 are refused"},
		{`"0.0.0.0"`, "0.0.0.0:80", ""},
		{`"2001:db8::1"`, "192.0.2.1:80", "connections over IPv4 are refused"},
	} {
		cfg := configtest.Parse(t, t.TempDir(), fmt.Sprintf("listen = [%s]\n%s", row.listen, strings.Replace(configtest.Web, "127.0.0.1:8080", row.service, 1)))
		got := texts(checkFamilies(t.Context(), cfg))
		if (got == "") != (row.want == "") || !strings.Contains(got, row.want) {
			t.Errorf("%v, %s: %q", row.listen, row.service, got)
		}
	}
}

// TestServiceOnLoopback: the warning names where the service listens.
func TestServiceOnLoopback(t *testing.T) {
	const server = "server = \"gate.example.org\"\n"
	for listen, want := range map[string]string{
		"listen = \"127.0.0.1:8080\"":                 "service web listens on 127.0.0.1:8080 only",
		"listen = \"127.0.0.1:0\"\nport = \"rotate\"": "service web listens on 127.0.0.1 only",
	} {
		cfg := configtest.Parse(t, t.TempDir(), server+strings.Replace(configtest.Web, "listen = \"127.0.0.1:8080\"", listen, 1))
		if got := texts(checkFamilies(t.Context(), cfg)); !strings.Contains(got, want) {
			t.Errorf("%s: %q", listen, got)
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
