package main

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
)

// TestFirstProcess: which arguments are those of a server, and its configuration.
func TestFirstProcess(t *testing.T) {
	for _, row := range []struct {
		args   string
		serves bool
		config string
	}{
		{"/usr/bin/sallyportd serve", true, ""},
		{"sallyportd serve -c /etc/x.toml", true, "/etc/x.toml"},
		{"sallyportd serve --config /etc/x.toml", true, "/etc/x.toml"},
		{"sallyportd serve --config=/etc/x.toml --trial 5m", true, "/etc/x.toml"},
		{"sallyportd serve -c/etc/x.toml", true, "/etc/x.toml"},
		{"sallyportd serve -- -c other", true, ""},
		{"sallyportd serve -c", true, ""},
		{"/usr/bin/sallyportd firewall hold -c x", false, ""},
		{"/usr/bin/sallyport stay x", false, ""},
		{"sallyportd", false, ""},
		{"/sbin/init", false, ""},
		{"", false, ""},
	} {
		path := filepath.Join(t.TempDir(), "cmdline")
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(row.args, " ", "\x00")+"\x00"), 0o600); err != nil {
			t.Fatal(err)
		}
		serves, config, err := firstProcess(path)
		if err != nil || serves != row.serves || config != row.config {
			t.Errorf("%q: %t, %q, %v", row.args, serves, config, err)
		}
	}
	if _, _, err := firstProcess(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a process that cannot be read")
	}
}

// TestHealthOfAStart: a server that answers, and does not accept knocks yet, is not healthy.
func TestHealthOfAStart(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "admin.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ready := false
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(admin.Status{API: admin.Version, Ready: ready})
	})}
	go server.Serve(l)
	defer server.Close()
	var out strings.Builder
	check := func() error {
		return checkHealth(context.Background(), cli.Env{Stdout: &out}, &config.Config{AdminSocket: socket}, healthTime)
	}
	if err := check(); err == nil || !strings.Contains(err.Error(), "does not accept knocks yet") {
		t.Errorf("got %v", err)
	}
	ready = true
	if err := check(); err != nil || out.String() != "the server accepts knocks\n" {
		t.Errorf("got %v, %q", err, out.String())
	}
}
