package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/config/configtest"
	"sallyport/cmd/sallyportd/internal/daemon"
	"sallyport/sessions/fleet/cluster"
	"sallyport/sessions/fleet/etcdtest"
	"sallyport/sessions/fleet/presence"
)

// TestCheckFleet: check finds what differs between the servers of a fleet, their clocks
// and certificates included, a name that is used, and that a reload is due.
func TestCheckFleet(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	now := time.Now()
	dir := t.TempDir()
	cfg := configtest.Parse(t, "/nonexistent", configtest.Web+fmt.Sprintf("[fleet]\nname = \"a\"\nendpoints = [%q]\ntimeout = \"1s\"\n", e.Gateway(t).Endpoints()[0]))
	own, err := daemon.Present(cfg, nil, "v1")
	if err != nil {
		t.Fatal(err)
	}
	stop := gateway(t, e, "b", t.TempDir(), func(i *presence.Info) { *i = own; i.Release = "v2"; i.Expires = now.Add(time.Hour) }, time.Hour)
	defer stop()
	stopOwn := gateway(t, e, "a", dir, func(i *presence.Info) { *i = own; i.Release = "v2" }, 0)
	check := func(cfg *config.Config, list clients.List) string {
		var codes []string
		for _, f := range checkFleet(t.Context(), cfg, list, envAt(time.Now())) {
			codes = append(codes, f.Code)
		}
		return strings.Join(codes, " ")
	}
	if got := check(cfg, nil); got != "fleet-name-used fleet-release fleet-clock fleet-certificate" {
		t.Errorf("a name that is used, and another server: %s", got)
	}
	mine := *cfg
	mine.StateDir = dir
	const want = "fleet-not-reloaded fleet-not-reloaded fleet-release fleet-clock fleet-differs fleet-certificate"
	if got := check(&mine, clients.List{{}}); got != want {
		t.Errorf("before a reload: %s", got)
	}
	// The list of a gateway is that of etcd, which the servers have not applied.
	mine.FleetClients = true
	const behind = "fleet-not-reloaded fleet-list-behind fleet-release fleet-clock fleet-list-differs fleet-certificate"
	if got := check(&mine, clients.List{{}}); got != behind {
		t.Errorf("with one list of clients: %s", got)
	}
	stopOwn()
	e.Kill()
	if got := check(cfg, nil); got != "fleet-member-unreachable" {
		t.Errorf("without etcd: %s", got)
	}
}

// gateway is another server of the fleet, whose clock may be ahead.
func gateway(t *testing.T, e *etcdtest.Cluster, name, dir string, describe func(*presence.Info), ahead time.Duration) (stop func()) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	c, err := cluster.Open(cluster.Config{Endpoints: e.Gateway(t).Endpoints(), Log: log, Timeout: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	p, err := presence.Open(presence.Config{
		Name: name, Dir: dir, Cluster: c, Beat: 20 * time.Millisecond, Log: log,
		Wall: func() time.Time { return time.Now().Add(ahead) },
		Describe: func() (i presence.Info) {
			describe(&i)
			return i
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Claim(t.Context()); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	wg.Go(func() { p.Run(ctx) })
	return sync.OnceFunc(func() { cancel(); c.Close(); wg.Wait() })
}
