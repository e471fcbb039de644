package daemon

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/client"
	"sallyport/sessions/clock/clocktest"
	"sallyport/sessions/handshakes"
	"sallyport/sessions/state"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/schedule"
)

// The network of these tests: three gateways in this process, which relay to each other by
// loopback addresses, and a client behind a veth pair.
//
//	gw1 198.51.100.11, gw2 198.51.100.12, gw3 198.51.100.13  <---->  198.51.100.2
const relayClient = "198.51.100.2"

func gatewayAddress(i int) string { return fmt.Sprintf("198.51.100.1%d", i) }
func relayAddress(i int) string   { return fmt.Sprintf("127.0.0.%d:7400", i) }

// relayWorld is the gateways and the client's host.
type relayWorld struct {
	*testing.T
	host     *clocktest.Host
	client   *netns.Host
	gateways map[string]*fleetServer
	fleet    string // keys of [fleet]
}

// newRelayWorld makes a world without etcd: exchanges do not require it.
func newRelayWorld(t *testing.T) *relayWorld {
	t.Helper()
	return newRelayWorldAt(t, "endpoints = [\"http://127.0.0.1:2379\"]\ntimeout = \"100ms\"")
}

func newRelayWorldAt(t *testing.T, fleet string) *relayWorld {
	t.Helper()
	w := &relayWorld{T: t, host: clocktest.NewHost(), client: netns.NewHost(t), gateways: map[string]*fleetServer{}, fleet: fleet}
	netns.Connect(t, netns.End{Name: "srv", Addresses: []string{gatewayAddress(1) + "/24", gatewayAddress(2) + "/24", gatewayAddress(3) + "/24"}},
		w.client, netns.End{Name: "cli", Addresses: []string{relayClient + "/24"}})
	for i := range 3 {
		w.gateways[fmt.Sprintf("gw%d", i+1)] = w.start(i + 1)
	}
	w.awaitHearing(2)
	return w
}

// start starts a gateway.
func (w *relayWorld) start(i int) *fleetServer {
	w.Helper()
	f := &fleetServer{t: w.T, address: gatewayAddress(i)}
	dir := w.TempDir()
	text := fmt.Sprintf(`
listen = [%q]
ports = 3
port_secret = "the port secret"
clients = "clients.txt"
readers = 1
[[service]]
name = "web"
type = "web"
listen = "%[1]s:8080"
open_for = "1h"
open_max = "1h"
[challenge]
hop = 100
ports = "16384-31000"
[[operation]]
id = "nat-aware"
secret = "the secret of one"
service = "web"
[[operation]]
id = "mutual"
secret = "the secret of another one"
algorithm = 3
service = "web"
[[operation]]
id = "limited-one"
secret = "the secret of one"
service = "web"
uses = 2
[fleet]
name = "gw%d"
%s
relay = ["gw1=%s", "gw2=%s", "gw3=%s"]
relay_key_file = "relay.key"
`, f.address, i, w.fleet, relayAddress(1), relayAddress(2), relayAddress(3))
	path := filepath.Join(dir, "c.toml")
	for name, text := range map[string]string{"c.toml": text, "relay.key": "0123456789abcdef0123456789abcdef\n", "clients.txt": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			w.Fatal(err)
		}
	}
	cfg, err := config.Load(path, config.Secrets)
	if err != nil {
		w.Fatal(err)
	}
	if err := state.Create(cfg.StateDir); err != nil {
		w.Fatal(err)
	}
	f.server, err = New(w.Context(), cfg, nil, nil, Env{Clock: w.host.Clock(), Log: slog.New(slog.NewTextHandler(f, nil))})
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- f.server.Run(ctx) }()
	<-f.server.Ready()
	f.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.Error(err)
		}
	})
	w.Cleanup(f.stop)
	return f
}

// awaitHearing waits until each gateway hears so many others.
func (w *relayWorld) awaitHearing(n int) {
	w.Helper()
	for name, f := range w.gateways {
		f.await(name+" hears the others", func() bool {
			heard, _ := f.server.challenge.relay.Hears()
			mutual := 0
			for _, r := range f.server.challenge.reach() {
				if r.Heard && r.Hears && !r.Forged {
					mutual++
				}
			}
			return heard == n && mutual == n
		})
	}
}

// config is the configuration of an exchange, spread over all gateways.
func (w *relayWorld) config(operation string) client.ExchangeConfig {
	w.Helper()
	algorithm, secret := exchange.NATAware, "the secret of one"
	if operation == "mutual" {
		algorithm, secret = exchange.Mutual, "the secret of another one"
	}
	o, err := exchange.NewOperation(operation, secret, algorithm, false)
	if err != nil {
		w.Fatal(err)
	}
	var running *fleetServer
	cfg := client.ExchangeConfig{Timeout: time.Minute, Watch: client.WatchNone, Random: rand.Reader, Now: w.host.Clock().Wall}
	for i := range 3 {
		cfg.Gateways = append(cfg.Gateways, client.Gateway{Name: fmt.Sprintf("gw%d", i+1), Server: gatewayAddress(i + 1)})
		if f := w.gateways[cfg.Gateways[i].Name]; f != nil {
			running = f
		}
	}
	c := running.server.reloads.current
	cfg.Challenge = client.Challenge{
		Operation: o, Request: c.Challenge.Plan.Request, Response: c.Challenge.Plan.Response,
		Hop: c.Challenge.Plan.Hop, HopKey: schedule.HopKeyOf(c.PortSecret.Current), Service: ":8080",
	}
	return cfg
}

func (w *relayWorld) exchange(cfg client.ExchangeConfig) (r client.Result) {
	w.Helper()
	err := w.client.Do(func() (err error) {
		r, err = client.Exchange(w.Context(), cfg)
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	return r
}

// opened waits for a lease of the client, ends it, and returns where it was.
func (w *relayWorld) opened() (at string) {
	w.Helper()
	netns.Until(w.T, "the lease", func() bool {
		for name, f := range w.gateways {
			if n := len(f.server.gate.Leases()); n > 0 {
				at = name
			}
		}
		return at != ""
	})
	for name, f := range w.gateways {
		for _, l := range f.server.gate.Leases() {
			if name != at || l.Peer.Prefix.String() != relayClient+"/32" {
				w.Errorf("%s has opened for %s, and %s too", name, l.Peer.Prefix, at)
			}
		}
		f.server.gate.EndAll()
	}
	return at
}

// since returns how much a counter of a gateway has grown since it was read before.
func (w *relayWorld) since(before map[string]map[string]uint64, gateway, counter string) uint64 {
	return w.gateways[gateway].server.Counters()[counter] - before[gateway][counter]
}

// taken returns how many packets of exchanges a gateway has handled since then.
func (w *relayWorld) taken(before map[string]map[string]uint64, gateway string) (n uint64) {
	for o := handshakes.Outcome(0); o < handshakes.Evicted; o++ {
		n += w.since(before, gateway, "exchange_"+o.String())
	}
	return n
}

func (w *relayWorld) counters() map[string]map[string]uint64 {
	all := map[string]map[string]uint64{}
	for name, f := range w.gateways {
		all[name] = f.server.Counters()
	}
	return all
}

// coordinator waits until the views of all agree on the gateway that coordinates the client.
func (w *relayWorld) coordinator() (name string) {
	w.Helper()
	netns.Until(w.T, "one coordinator", func() bool {
		n := 0
		for at, f := range w.gateways {
			if f.server.challenge.relay.Coordinates(netip.MustParseAddr(relayClient)) {
				name, n = at, n+1
			}
		}
		return n == 1
	})
	return name
}

// TestExchangeOverGateways: an exchange of which each of three gateways receives a third
// opens once, at the gateway that has sent the challenge. A client that sends all packets
// to one gateway gets in there.
func TestExchangeOverGateways(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newRelayWorld(t)
	at, begin := w.coordinator(), w.counters()
	for _, operation := range []string{"nat-aware", "mutual", "nat-aware"} {
		before := w.counters()
		r := w.exchange(w.config(operation))
		want := client.Result{Address: netip.MustParseAddr(w.gateways[at].address), Gateway: at, Attempts: 1}
		want.Service = netip.AddrPortFrom(want.Address, 8080)
		got := client.Result{Address: r.Address, Gateway: r.Gateway, Attempts: r.Attempts, Service: r.Service}
		if opened := w.opened(); opened != at || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: opened at %s, coordinated by %s, result %+v", operation, opened, at, r)
		}
		if n := w.since(before, at, "exchange_verified"); n != 1 {
			t.Errorf("%s: %d responses", operation, n)
		}
	}
	for name, f := range w.gateways {
		// It comes with the next datagram.
		f.await(name+" knows the client", func() bool { return f.server.challenge.relay.Known(netip.MustParseAddr(relayClient)) })
	}
	w.thirds(begin, at)
	for i := range 3 {
		cfg := w.config("nat-aware")
		cfg.Server, cfg.Gateways = gatewayAddress(i+1), nil
		w.exchange(cfg)
		if opened := w.opened(); w.gateways[opened].address != cfg.Server {
			t.Errorf("an exchange with %s opened at %s", cfg.Server, opened)
		}
	}
	w.strangers()
}

// thirds checks that each gateway has received a third of the packets, and that the
// coordinator alone has sent challenges, and has got the packets of the others.
func (w *relayWorld) thirds(before map[string]map[string]uint64, at string) {
	w.Helper()
	direct, all := map[string]uint64{}, uint64(0)
	w.gateways[at].await("all packets at the coordinator", func() bool {
		var others uint64
		relayed := true
		for name := range w.gateways {
			direct[name] = w.taken(before, name) - w.since(before, name, "relay_received")
			if name != at {
				others += direct[name]
				relayed = relayed && w.since(before, name, "relay_sent") == direct[name]
			}
		}
		all = others + direct[at]
		return relayed && others > 0 && w.since(before, at, "relay_received") == others
	})
	for name, n := range direct {
		if n < all/6 || n > all/3+6 {
			w.Errorf("%s has received %d of %d packets", name, n, all)
		}
		if name != at && w.since(before, name, "exchange_answered") != 0 {
			w.Errorf("%s has sent a challenge", name)
		}
	}
}

// strangers sends to the relay port of a gateway, from loopback and from the client's host.
func (w *relayWorld) strangers() {
	w.Helper()
	f := w.gateways["gw1"]
	heard, _ := f.server.challenge.relay.Hears()
	before := w.counters()
	c, err := net.Dial("udp4", relayAddress(1))
	if err != nil {
		w.Fatal(err)
	}
	defer c.Close()
	for _, text := range []string{"", "hello", strings.Repeat("x", 100), strings.Repeat("x", 1200), strings.Repeat("x", 1300)} {
		if _, err := c.Write([]byte(text)); err != nil {
			w.Fatal(err)
		}
	}
	f.await("the refusal", func() bool { return w.since(before, "gw1", "relay_refused") == 5 })
	c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1500)); err == nil {
		w.Errorf("a stranger got %d bytes", n)
	}
	if now, _ := f.server.challenge.relay.Hears(); now != heard || len(f.server.gate.Leases()) > 0 {
		w.Errorf("hears %d gateways, before %d", now, heard)
	}
}

// TestCoordinatorDown: when the gateway is down that coordinates the client, another one does,
// and the client's second attempt opens there.
func TestCoordinatorDown(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newRelayWorld(t)
	down := w.coordinator()
	w.gateways[down].stop()
	delete(w.gateways, down)
	w.host.Pass(4 * time.Second)
	w.awaitHearing(1)
	w.coordinator()
	cfg := w.config("mutual")
	cfg.Timeout, cfg.Attempts = 500*time.Millisecond, 20
	r := w.exchange(cfg)
	if opened := w.opened(); opened != r.Gateway || opened == down || r.Attempts < 2 {
		t.Errorf("opened at %s, result %+v", opened, r)
	}
}
