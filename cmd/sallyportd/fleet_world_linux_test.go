package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/sessions/client"
	"sallyport/sessions/fleet/etcdtest"
	"sallyport/verify/wire"
)

// fleetWorld is three gateways, each in a network namespace, and three members of etcd,
// with honest clients and an attacker.
//
//	this namespace                                          gateway 1, 2, 3
//	clients   198.18.0.0/16 \
//	attacker  198.19.0.0/16  > 10.9.G.254 <-- veth --> 10.9.G.1
//	members   10.9.G.101 to .103, each a Path of etcdtest to a member
//
// Each attempt has another address, and the attacker a second one for each attempt
// that it replays: so the logs show which attempt has opened which service for whom.
type fleetWorld struct {
	etcd     *etcdtest.Cluster
	gateways []*fleetGateway
	guests   []*guest
	clock    stepped // of the clients
	chance   *rand.Rand
	sent     []*fleetAttempt
	judge    fleetJudge
}

// fleetGateway is a gateway, and what it needs to start again.
type fleetGateway struct {
	number  int // from 1
	address string
	dir     string
	host    *netns.Host
	way     *etcdtest.Gateway
	starts  chan func() // the thread in its namespace that starts processes
	clock   stepped
	step    string // the file of the clock
	server  *victim
	past    []string // the logs of its runs that have ended
}

// fleetServices are the services of each gateway. The first two last longer than a test
// needs, so that a slow machine sees them open. A client may have many addresses: lines of the
// log come some seconds late when many attempts are made at once, and the tests knock again
// until they see one.
const fleetServices = `[[service]]
name = "local"
type = "web"
listen = "%[1]s:8080"
open_for = "10m"
open_max = "10m"
max_addresses = 256
[[service]]
name = "shared"
type = "web"
listen = "%[1]s:8081"
open_for = "10m"
open_max = "10m"
max_addresses = 256
spread = "all"
[[service]]
name = "brief"
type = "web"
listen = "%[1]s:8082"
open_for = "1s"
open_max = "1s"
`

const fleetMembers = 3

// fleetClients is how many clients there are: the logs leave lines out that are about the
// same client again and again, and a client has eight leases of a service at most.
const fleetClients = 200

// clients is the content of the file of clients.
func (w *fleetWorld) clients() string {
	var all strings.Builder
	for _, one := range w.guests {
		fmt.Fprintf(&all, "%s %s 0\n", one.name(), one.profile.Secret)
	}
	return all.String()
}

func newFleetWorld(t *testing.T, seed uint64) *fleetWorld {
	t.Helper()
	t.Logf("seed %d: set %s to it to repeat the order", seed, fleetSeedVariable)
	w := &fleetWorld{chance: rand.New(rand.NewPCG(seed, 0))}
	w.clock, _ = newStep(t)
	nonces := t.TempDir()
	for i := range fleetClients {
		id := fmt.Sprintf("%04d", i)
		w.guests = append(w.guests, &guest{client.Profile{
			Server: "gateway", PortSecret: "the port secret", Ports: 2, Identifier: wire.Identifier([]byte(id)), Secret: []byte("secret-" + id),
		}, client.NonceFile{Path: filepath.Join(nonces, id)}, w.clock.now})
	}
	var addresses []net.IP
	for g := range 3 {
		for m := range fleetMembers {
			addresses = append(addresses, net.ParseIP(memberAddress(g+1, m)))
		}
	}
	w.etcd = etcdtest.Start(t, etcdtest.Options{Members: fleetMembers, TLS: true, Quota: 16 << 20, Addresses: addresses})
	// The clients and the attacker are at addresses without an interface.
	_, all, _ := net.ParseCIDR("198.18.0.0/15")
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: all, Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: netlink.SCOPE_HOST})
	}
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		g := w.newGateway(t, i+1)
		w.gateways = append(w.gateways, g)
		g.start(t)
	}
	return w
}

func memberAddress(gateway, member int) string { return fmt.Sprintf("10.9.%d.%d", gateway, 101+member) }

func (w *fleetWorld) newGateway(t *testing.T, number int) *fleetGateway {
	t.Helper()
	g := &fleetGateway{number: number, address: fmt.Sprintf("10.9.%d.1", number), dir: t.TempDir(), host: netns.NewHost(t), starts: make(chan func())}
	g.clock, g.step = newStep(t)
	near, members := []string{fmt.Sprintf("10.9.%d.254/24", number)}, []string{}
	for m := range fleetMembers {
		near = append(near, memberAddress(number, m)+"/24")
		members = append(members, memberAddress(number, m)+":2379")
	}
	netns.Connect(t, netns.End{Name: fmt.Sprintf("gw%d", number), Addresses: near}, g.host, netns.End{Name: "up", Addresses: []string{g.address + "/24"}})
	t.Cleanup(func() { close(g.starts) })
	go g.host.Do(func() error {
		for do := range g.starts {
			do()
		}
		return nil
	})
	err := g.host.Do(func() error {
		return netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP(fmt.Sprintf("10.9.%d.254", number))})
	})
	if err != nil {
		t.Fatal(err)
	}
	nftAt(t, nil, fmt.Sprintf("table ip gw%d { chain in { type filter hook input priority 0; }; }", number))
	nftAt(t, g.host, "table ip cut { chain in { type filter hook input priority 0; }; }")
	g.way = w.etcd.GatewayAt(t, members...)
	makeGuestsOf(t, g.dir, g.address)
	if err := os.WriteFile(filepath.Join(g.dir, "clients.txt"), []byte(w.clients()), 0o600); err != nil {
		t.Fatal(err)
	}
	files := w.etcd.Files(t, fmt.Sprintf("gateway%d", number))
	cfg := fmt.Sprintf(`ports = 2
listen = [%[1]q]
port_secret_file = "port_secret"
clients = "clients.txt"
`+fleetServices+`[fleet]
name = "gateway%[2]d"
endpoints = ["%[3]s"]
ca = %[4]q
certificate = %[5]q
key = %[6]q
`, g.address, number, strings.Join(g.way.Endpoints(), `", "`), files.Authority, files.Certificate, files.Key)
	if err := os.WriteFile(filepath.Join(g.dir, "sallyportd.toml"), []byte(cfg), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if g.server != nil {
			g.kill()
		}
		if t.Failed() {
			t.Logf("gateway %d:\n%s", number, g.log())
		}
	})
	return g
}

// nftAt runs commands of nftables in a gateway's namespace, or in this one.
func nftAt(t *testing.T, host *netns.Host, commands string) {
	t.Helper()
	run := func() error {
		c := exec.Command("nft", "-f", "-")
		c.Stdin = strings.NewReader(commands)
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("nft: %w: %s", err, out)
		}
		return nil
	}
	var err error
	if host == nil {
		err = run()
	} else {
		err = host.Do(run)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (g *fleetGateway) start(t *testing.T) {
	t.Helper()
	g.server = startProgramBy(t, g.starts, "/proc/self/exe", g.dir, stepVariable+"="+g.step)
}

func (g *fleetGateway) kill() {
	g.server.cmd.Process.Kill()
	for !g.server.hasEnded() {
		time.Sleep(time.Millisecond)
	}
	g.server.cmd.Wait()
	g.past, g.server = append(g.past, g.server.log()), nil
}

// log returns the lines of all runs.
func (g *fleetGateway) log() string {
	text := strings.Join(g.past, "\n")
	if g.server != nil {
		text += "\n" + g.server.log()
	}
	return text
}

// dropRequests drops what the gateway sends to members, dropAnswers what they send to it,
// and dropClients what clients send to it.
func (g *fleetGateway) dropRequests(t *testing.T, members ...int) {
	t.Helper()
	for _, m := range members {
		nftAt(t, nil, fmt.Sprintf("add rule ip gw%d in ip daddr %s drop", g.number, memberAddress(g.number, m)))
	}
}

func (g *fleetGateway) dropAnswers(t *testing.T, members ...int) {
	t.Helper()
	for _, m := range members {
		nftAt(t, g.host, fmt.Sprintf("add rule ip cut in ip saddr %s drop", memberAddress(g.number, m)))
	}
}

func (g *fleetGateway) dropClients(t *testing.T) {
	t.Helper()
	nftAt(t, g.host, "add rule ip cut in ip saddr 198.18.0.0/15 drop")
}

// heal ends what these have begun.
func (g *fleetGateway) heal(t *testing.T) {
	t.Helper()
	nftAt(t, nil, fmt.Sprintf("flush chain ip gw%d in", g.number))
	nftAt(t, g.host, "flush chain ip cut in")
}
