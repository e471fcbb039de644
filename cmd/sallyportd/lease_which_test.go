package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
)

// TestWords: each word of "lease close" means one thing, or is an error.
func TestWords(t *testing.T) {
	dir := t.TempDir()
	clients, text := filepath.Join(dir, "clients.txt"), "com1 0123456789abcdef0123456789abcdef 0\nwiki 0123456789abcdef0123456789abcde0 0\n"
	if err := os.WriteFile(clients, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := &config.Config{
		Path: "c.toml", ClientsPath: clients, Services: []config.Service{{Name: "ssh"}, {Name: "wiki"}, {Name: "10.0.0.1"}},
		Operations: []config.Operation{{ID: "ssh-alice"}},
	}
	for _, row := range []struct {
		words string
		want  admin.Which
		fault string
	}{
		{words: "ssh", want: admin.Which{Service: "ssh"}},
		{words: "com1", want: admin.Which{Client: "com1"}},
		{words: "ssh-alice", want: admin.Which{Operation: "ssh-alice"}},
		{words: "192.0.2.7", want: admin.Which{Peer: netip.MustParsePrefix("192.0.2.7/32")}},
		{words: "10.0.0.1", want: admin.Which{Peer: netip.MustParsePrefix("10.0.0.1/32")}},
		{words: "203.0.113.9/24 com1 ssh", want: admin.Which{Service: "ssh", Client: "com1", Peer: netip.MustParsePrefix("203.0.113.0/24")}},
		{words: "wiki", fault: `"wiki" is a service and a client`},
		{words: "com2", fault: `there is no service, client, operation or address "com2"`},
		{words: "ssh ssh", fault: "at most one service"},
		{words: "com1 com1", fault: "at most one client"},
		{words: "192.0.2.7 192.0.2.8", fault: "at most one address"},
	} {
		var got admin.Which
		err := addWords(&got, strings.Fields(row.words), cfg)
		if row.fault == "" && (err != nil || got != row.want) || row.fault != "" && (err == nil || !strings.Contains(err.Error(), row.fault)) {
			t.Errorf("%s: %+v, %v", row.words, got, err)
		}
	}
}
