package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/clock"
	"sallyport/sessions/fleet/etcdtest"
	"sallyport/sessions/fleet/presence"
	"sallyport/sessions/state"
	"sallyport/verify/wire"
)

// TestGateways: servers of a fleet log what differs between them; one whose name another
// one has does not start.
func TestGateways(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	e := etcdtest.Start(t, etcdtest.Options{})
	a := join(t, clock.System(), "127.0.0.1", e.Gateway(t).Endpoints(), "")
	join(t, clock.System(), "127.0.0.2", e.Gateway(t).Endpoints(), "open_for = \"20s\"")
	a.await("the difference", func() bool {
		return a.lines("gateway differs from this one\" gateway=gateway-127.0.0.2 part=services") == 1
	})
	if n := a.lines("gateway differs"); n != 1 {
		t.Errorf("%d lines", n)
	}
	dir := t.TempDir()
	if err := state.Create(dir); err != nil {
		t.Fatal(err)
	}
	cfg := fleetConfig(t, dir, fmt.Sprintf("endpoints = [%q]", e.Gateway(t).Endpoints()[0]))
	_, err := New(t.Context(), cfg, nil, nil, Env{Clock: clock.System(), Log: slog.New(slog.DiscardHandler)})
	used, ok := errors.AsType[*presence.NameUsedError](err)
	if !ok || used.Hint() == "" {
		t.Errorf("a server with the name of another one: %v", err)
	}
}

func fleetConfig(t *testing.T, dir, keys string) *config.Config {
	t.Helper()
	cfg, err := config.Parse("c.toml", fmt.Appendf(nil, `
listen = ["127.0.0.3"]
ports = 3
port_secret = "the port secret"
clients = "clients.txt"
state_dir = %q
[[service]]
name = "web"
type = "web"
listen = "127.0.0.3:8080"
[fleet]
name = "gateway-127.0.0.1"
%s
`, dir, keys))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// TestContentsOf: each part changes with what it is about, and not with the order or the
// nonces of clients.
func TestContentsOf(t *testing.T) {
	t.Parallel()
	const etcd = "endpoints = [\"http://127.0.0.1:1\"]"
	a := clients.Client{Identifier: wire.Identifier([]byte("com1")), Secret: []byte("one")}
	b := clients.Client{Identifier: wire.Identifier([]byte("com2")), Secret: []byte("two")}
	base := fleetConfig(t, "/nonexistent", etcd)
	was := contentsOf(base, clients.List{a, b})
	for name, row := range map[string]struct {
		change func(*config.Config, clients.List)
		want   string
	}{
		"order":      {func(_ *config.Config, l clients.List) { l[0], l[1] = l[1], l[0] }, ""},
		"nonce":      {func(_ *config.Config, l clients.List) { l[0].HighestNonce = 7 }, ""},
		"secret":     {func(_ *config.Config, l clients.List) { l[0].Secret = []byte("other") }, "clients"},
		"expiry":     {func(_ *config.Config, l clients.List) { l[0].Expires = time.Unix(1, 0) }, "clients"},
		"ports":      {func(c *config.Config, _ clients.List) { c.Ports = 4 }, "protocol"},
		"portsecret": {func(c *config.Config, _ clients.List) { c.PortSecret.Current = "other" }, "port_secret"},
		"service":    {func(c *config.Config, _ clients.List) { c.Services[0].Shared = true }, "services"},
		"operation":  {func(c *config.Config, _ clients.List) { c.Operations = []config.Operation{{ID: "x"}} }, "operations"},
		"this host":  {func(c *config.Config, _ clients.List) { c.Services[0].Listen, c.StateDir = "x", "y" }, ""},
	} {
		cfg, list := *base, clients.List{a, b}
		cfg.Services = slices.Clone(base.Services)
		row.change(&cfg, list)
		now := contentsOf(&cfg, list)
		changed := ""
		for i := range now {
			if !bytes.Equal(now[i].sum, was[i].sum) {
				changed += now[i].part
			}
		}
		if changed != row.want {
			t.Errorf("%s: %q changed, want %q", name, changed, row.want)
		}
	}
}
