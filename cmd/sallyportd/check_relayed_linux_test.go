package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config/configtest"
	"sallyport/sessions/fleet/relay"
)

// TestCheckRelayed: check finds gateways that do not run, have another key, or do not hear this
// one; by itself while no server runs, and from the server that runs.
func TestCheckRelayed(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	at := map[string]netip.AddrPort{}
	var list []string
	for i, name := range []string{"asks", "runs", "other", "none"} {
		at[name] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, byte(i + 1)}), 900)
		list = append(list, fmt.Sprintf("%q", name+"="+at[name].String()))
	}
	cfg := configtest.Parse(t, "/nonexistent", configtest.Web+`
[challenge]
[[operation]]
id = "open-it"
secret = "the secret"
service = "web"
[fleet]
name = "asks"
endpoints = ["http://127.0.0.1:2379"]
relay_key_file = "relay.key"
relay = [`+strings.Join(list, ",")+`]
`)
	cfg.StateDir, cfg.AdminSocket = t.TempDir(), filepath.Join(t.TempDir(), "admin.sock")
	key := func(text string) relay.Key {
		k, err := relay.ParseKey(text)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	cfg.Fleet.Relay.Key = key(strings.Repeat("k", relay.MinKey))
	run := func(f func(context.Context) error) (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- f(ctx) }()
		return func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	start := func(name string, k relay.Key) func() {
		r, err := relay.Open(relay.Config{
			Name: name, Gateways: at, Key: k, Sink: func([]relay.Packet) {}, Now: time.Now, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		return run(r.Run)
	}
	defer start("runs", cfg.Fleet.Relay.Key)()
	defer start("other", key(strings.Repeat("o", relay.MinKey)))()
	codes := func() (all []string) {
		for _, f := range checkRelayed(t.Context(), cfg) {
			all = append(all, f.Code)
		}
		slices.Sort(all)
		return all
	}
	if got := codes(); !slices.Equal(got, []string{"fleet-relay-key", "fleet-relay-silent"}) {
		t.Errorf("while no server runs: %q", got)
	}
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at["asks"]))
	if err != nil {
		t.Fatal(err)
	}
	if got := codes(); !slices.Equal(got, []string{"fleet-relay-address"}) {
		t.Errorf("an address in use: %q", got)
	}
	found := []relay.Reach{{Name: "runs", Heard: true}, {Name: "other", Forged: true}, {Name: "none", Heard: true, Hears: true}}
	stop := run(func(ctx context.Context) error {
		return admin.Serve(ctx, cfg.AdminSocket, admin.Handlers{Relay: func() []relay.Reach { return found }})
	})
	netns.Until(t, "the server", func() bool { return admin.Running(cfg.AdminSocket) })
	if got := codes(); !slices.Equal(got, []string{"fleet-relay-key", "fleet-relay-one-way"}) {
		t.Errorf("while a server runs: %q", got)
	}
	found = nil
	if got := codes(); len(got) > 0 {
		t.Errorf("a server without a relay: %q", got)
	}
	stop()
	c.Close()
	cfg.Fleet.Relay.Gateways["asks"] = netip.MustParseAddrPort("10.255.255.1:900")
	if got := codes(); !slices.Equal(got, []string{"fleet-relay-address"}) {
		t.Errorf("an address of another host: %q", got)
	}
}
