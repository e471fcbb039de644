package main

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config/configtest"
	"sallyport/verify/wire"
)

// TestFindAddresses: the addresses of a server for its profiles, and what people read of
// them.
func TestFindAddresses(t *testing.T) {
	const (
		public = "listen = [\"198.51.100.9\", \"10.0.0.9\", \"100.64.0.9\", \"127.0.0.1\", \"2001:db8::9\"]\n"
		both   = "[challenge]\npublic_address = [\"198.51.100.7\"]\n[[operation]]\nid = \"web-alice\"\nsecret = \"s\"\nservice = \"web\"\n"
	)
	for _, row := range []struct {
		server, keys string
		want, note   string // note: a part of it; empty: there is none
	}{
		{"gate.example.org", "", "[203.0.113.5 2001:db8::5]", ""},
		{"gate.example.org", "listen = [\"0.0.0.0\"]\n", "[203.0.113.5]", ""},
		{"gate.example.org", "listen = [\"::1\"]\n", "[2001:db8::5]", ""},
		{"gate.example.org", "listen = [\"0.0.0.0\", \"own.example.org\"]\n", "[203.0.113.5 2001:db8::5]", ""},
		{"gate.example.org", public, "[203.0.113.5 2001:db8::5]", ""}, // the name is what clients use
		{"many.example.org", "", "[203.0.113.4 203.0.113.5 203.0.113.6 203.0.113.7 2001:db8::4 2001:db8::5 2001:db8::6 2001:db8::7]", ""},
		{"many.example.org", "listen = [\"0.0.0.0\"]\n", "[203.0.113.4 203.0.113.5 203.0.113.6 203.0.113.7 203.0.113.8 203.0.113.9]", ""},
		{"lan.example.org", "", "[192.168.1.7]", "on this host lan.example.org is 192.168.1.7, a private address"},
		{"own.example.org", "", "[]", "this host finds no address of own.example.org that a client could use, but 127.0.1.1; the profile has none"},
		{"own.example.org", public, "[198.51.100.9 2001:db8::9]", "but 127.0.1.1; the profile has those of the configuration"},
		{"none.example.org", "", "[]", "this host finds no address of none.example.org: lookup none.example.org: no such host; the profile has none, and its device must find them"},
		{"none.example.org", public, "[198.51.100.9 2001:db8::9]", "no such host; the profile has those of the configuration"},
		{"none.example.org", both, "[198.51.100.7]", "no such host; the profile has those of the configuration"},
		{"slow.example.org", "", "[]", "context deadline exceeded; the profile has none"},
		{"203.0.113.5", public, "[]", ""}, // the profile names it already
		{"2001:db8::5", "", "[]", ""},
		{"no name", public, "[]", ""}, // checkProfile refuses it
	} {
		keys, challenge := row.keys, ""
		if strings.HasPrefix(keys, "[") {
			keys, challenge = "", keys
		}
		cfg := configtest.Parse(t, "", keys+configtest.Web+challenge)
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			got := findAddresses(t.Context(), testNames, cfg, row.server)
			if fmt.Sprint(got.all) != row.want || !strings.Contains(got.note, row.note) || (row.note == "") != (got.note == "") {
				t.Errorf("%s with %q: %v, %q", row.server, row.keys, got.all, got.note)
			}
			if took := time.Since(start); took > resolveTime {
				t.Errorf("%s took %s", row.server, took)
			}
		})
	}
}

// TestLeases: how many leases of the service can be in force at a time.
func TestLeases(t *testing.T) {
	operation := func(id, keys string) string {
		return fmt.Sprintf("[[operation]]\nid = %q\nsecret = %q\nservice = \"web\"\n%s", id, "secret of "+id, keys)
	}
	list := clients.List{
		{Identifier: wire.Identifier([]byte("com1"))},
		{Identifier: wire.Identifier([]byte("com2")), Services: "web"},
		{Identifier: wire.Identifier([]byte("com3")), Services: "other"},
	}
	for _, row := range []struct {
		operations string
		most       string // leases; all: no limit
	}{
		{"", "24"},
		{operation("web-alice", "client = \"com1\"\n"), "24"},
		{operation("web-alice", "client = \"com3\"\n"), "32"},
		{operation("web-alice", "port = \"random\"\n"), "24"},
		{operation("web-alice", "open_for = \"5s\"\n") + operation("web-close", "action = \"close\"\n"), "all"},
	} {
		text := configtest.Web + "[[service]]\nname = \"other\"\ntype = \"web\"\nlisten = \":9090\"\n"
		if row.operations != "" {
			text += "[challenge]\n" + row.operations
		}
		cfg := configtest.Parse(t, "", text)
		m := profileMaker{cfg: cfg, list: list}
		// The client is registered already, and another one is not.
		got := fmt.Sprint(m.leases(cfg.Service("web"), clients.List{list[0], {Identifier: wire.Identifier([]byte("new1"))}}))
		if row.most == "all" {
			row.most = fmt.Sprint(1<<63 - 1)
		}
		if got != row.most {
			t.Errorf("%s: %s", row.operations, got)
		}
	}
}
