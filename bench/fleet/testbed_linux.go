package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sallyport/bench/clock"
	"sallyport/bench/target"
)

// testbed is the running programs of a setup.
type testbed struct {
	setup    Setup
	etcd     *etcd // nil: without a fleet
	gateways []*gateway
	clients  *clients
	cores    []int
	sites    []*site
	// filled is what the members had done when they had their records.
	filled Cost
}

// gateway is a server, and a connection to the member that gets its requests.
type gateway struct {
	*site
	server *target.Server
	writer *clientv3.Client // nil: without a fleet
	to     netip.Addr
	// opened are the times of grants by the address of their client.
	opened map[netip.Addr]time.Time
}

// sharedService opens at all gateways.
const sharedService = `[[service]]
name = "shared"
type = "web"
listen = "[::]:8081"
open_for = "5s"
open_max = "5s"
spread = "all"
`

// rights are the services that a client may open.
func rights(i int) string {
	if i%2 == 1 {
		return "shared"
	}
	return "web"
}

// newTestbed starts the programs, of which the first gateway has a number. The directory of
// etcd is in memory.
func newTestbed(ctx context.Context, cfg Config, s Setup, first int, dir, memory string) (t *testbed, err error) {
	t = &testbed{setup: s}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.stop())
		}
	}()
	if t.cores, err = clock.Cores(); err != nil {
		return nil, err
	}
	for _, d := range []string{dir, memory} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return nil, err
		}
	}
	for g := range max(s.Gateways, 1) {
		site, err := newSite(first+g, s.Gateways, time.Duration(s.Trip*float64(time.Millisecond)))
		if err != nil {
			return nil, err
		}
		t.sites = append(t.sites, site)
	}
	if s.Gateways > 0 {
		if t.etcd, err = startEtcd(ctx, cfg.Etcd, memory, first, s.Gateways); err != nil {
			return nil, err
		}
	}
	for i, site := range t.sites {
		if err := t.startGateway(ctx, cfg, site, filepath.Join(dir, fmt.Sprintf("g%d", i))); err != nil {
			return nil, fmt.Errorf("gateway %d: %w", i+1, err)
		}
	}
	t.clients, err = newClients(t.gateways[0].server.Profiles)
	return t, err
}

// startGateway starts the next gateway. Its requests go to the member of the same number.
func (t *testbed) startGateway(ctx context.Context, cfg Config, s *site, dir string) (err error) {
	to, err := netip.ParseAddr(s.address())
	if err != nil {
		return err
	}
	g := &gateway{site: s, to: to, opened: map[netip.Addr]time.Time{}}
	server := target.ServerConfig{
		Binary: cfg.Server, Dir: dir, Address: s.address(), Web: 8080, Ports: ports, Clients: t.setup.Clients, Honest: min(knocking, t.setup.Clients),
		Strict: true, Core: target.AnyCore, Host: s.host, Services: rights,
	}
	if t.etcd != nil {
		if g.writer, err = t.etcd.client(ctx, s.host, s.number, s.number-t.etcd.first); err != nil {
			return err
		}
		server.More = t.settings(s.number)
		server.Prepare = func(s *target.Server) error {
			if err := fill(ctx, g.writer, s, t.setup.Records); err != nil {
				return err
			}
			t.filled, err = t.cost(ctx)
			return err
		}
	} else {
		server.Services = func(int) string { return "web" }
	}
	if len(t.gateways) > 0 {
		server.Like = t.gateways[0].server
	}
	t.gateways = append(t.gateways, g)
	g.server, err = target.StartServer(ctx, server)
	return err
}

// settings is the part of a gateway's configuration that only a fleet has.
func (t *testbed) settings(number int) string {
	var endpoints []string
	n := len(t.etcd.members)
	for i := range n {
		member := (number - t.etcd.first + i) % n
		endpoints = append(endpoints, fmt.Sprintf("%q", fmt.Sprintf("https://%s:%d", memberAddress(number, member), clientPort)))
	}
	i := t.etcd.identity
	return sharedService + fmt.Sprintf("[fleet]\nname = \"gateway%d\"\nendpoints = [%s]\nca = %q\ncertificate = %[3]q\nkey = %[4]q\n",
		number, strings.Join(endpoints, ", "), i.certificate, i.key)
}

// stop ends all programs, and removes the networks.
func (t *testbed) stop() error {
	var errs []error
	if t.clients != nil {
		errs = append(errs, t.clients.conn.Close())
	}
	for _, g := range t.gateways {
		if g.server != nil && g.server.Process != nil {
			errs = append(errs, g.server.Stop())
		}
		if g.writer != nil {
			g.writer.Close()
		}
	}
	if t.etcd != nil {
		t.etcd.stop()
	}
	for _, s := range t.sites {
		errs = append(errs, s.remove())
	}
	return errors.Join(errs...)
}
