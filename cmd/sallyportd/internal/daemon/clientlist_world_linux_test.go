package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/fleetlist"
	"sallyport/sessions/client"
	"sallyport/sessions/clock/clocktest"
	"sallyport/sessions/fleet/etcdtest"
	"sallyport/sessions/fleet/roster"
	"sallyport/sessions/state"
	"sallyport/verify"
	"sallyport/verify/wire"
)

// listWorld is a fleet with one list of clients: etcd, an editor, and servers at addresses
// of the loopback interface.
type listWorld struct {
	t      *testing.T
	etcd   *etcdtest.Cluster
	clock  *clocktest.Host
	key    []byte // the content of the key file
	editor *fleetlist.List
	base   uint32 // of the last attempt
}

// listServer is a server of it, or what is needed to start it again.
type listServer struct {
	*fleetServer
	world    *listWorld
	way      *etcdtest.Gateway
	dir      string
	services []string
}

func newListWorld(t *testing.T, list string) *listWorld {
	t.Helper()
	addHosts(t)
	w := &listWorld{t: t, etcd: etcdtest.Start(t, etcdtest.Options{}), clock: clocktest.NewHost(), base: 10}
	w.clock.Step(time.Until(time.Now().Truncate(time.Minute).Add(20 * time.Second))) // far from another minute
	editor := w.server("127.0.0.9")
	path := filepath.Join(editor.dir, "clients_key")
	if err := roster.NewKeyFile(path); err != nil {
		t.Fatal(err)
	}
	var err error
	if w.key, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	w.editor, err = fleetlist.Open(editor.config(), w.clock.Clock().Wall, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.editor.Close() })
	if list != "" {
		w.imports(list)
	}
	return w
}

// server makes the files of a server, which does not run yet. Its services are web
// servers, at ports from 8080 on.
func (w *listWorld) server(address string, services ...string) *listServer {
	w.t.Helper()
	g := &listServer{world: w, way: w.etcd.Gateway(w.t), dir: w.t.TempDir(), services: append(services, "web")}
	g.fleetServer = &fleetServer{t: w.t, address: address, stop: func() {}}
	if err := os.Mkdir(filepath.Join(g.dir, "state"), 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := state.Create(filepath.Join(g.dir, "state")); err != nil {
		w.t.Fatal(err)
	}
	if w.key != nil {
		if err := os.WriteFile(filepath.Join(g.dir, "clients_key"), w.key, 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	g.configure("")
	return g
}

// configure writes the configuration, with more keys.
func (g *listServer) configure(keys string) {
	g.t.Helper()
	text := fmt.Sprintf("listen = [%q]\nports = 3\nport_secret = \"the port secret\"\nclients = \"fleet\"\nreaders = 1\n", g.address)
	for i, name := range g.services {
		text += fmt.Sprintf("[[service]]\nname = %q\ntype = \"web\"\nlisten = \"%s:%d\"\nopen_for = \"1h\"\nopen_max = \"1h\"\n", name, g.address, 8080+i)
	}
	text += fmt.Sprintf("[fleet]\nname = \"gateway-%s\"\nendpoints = [%q]\ntimeout = \"1s\"\n", g.address, g.way.Endpoints()[0]) + keys
	if err := os.WriteFile(filepath.Join(g.dir, config.FileName), []byte(text), 0o600); err != nil {
		g.t.Fatal(err)
	}
}

func (g *listServer) config() *config.Config {
	g.t.Helper()
	cfg, err := config.Load(filepath.Join(g.dir, config.FileName), config.All)
	if err != nil {
		g.t.Fatal(err)
	}
	return cfg
}

// make makes the server, which waits for the list if there is no copy.
func (g *listServer) make(ctx context.Context) error {
	cfg := g.config()
	log := slog.New(slog.NewTextHandler(g, nil))
	file, loaded, err := fleetlist.Start(ctx, cfg, g.world.clock.Clock().Wall, log)
	if err == nil {
		g.server, err = New(ctx, cfg, loaded.List, nil, Env{Clock: g.world.clock.Clock(), Log: log, ClientsCopy: file})
	}
	return err
}

// start starts the server, which ends with the test.
func (g *listServer) start() *listServer {
	g.t.Helper()
	if err := g.make(g.t.Context()); err != nil {
		g.t.Fatal(err)
	}
	g.run()
	return g
}

func (g *listServer) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done, server := make(chan error), g.server
	go func() { done <- server.Run(ctx) }()
	<-server.Ready()
	g.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			g.t.Error(err)
		}
	})
	g.t.Cleanup(g.stop)
}

// imports replaces the whole list.
func (w *listWorld) imports(text string) {
	w.t.Helper()
	if err := w.editor.Import(w.t.Context(), linesOf(w.t, text)); err != nil {
		w.t.Fatal(err)
	}
}

// set adds or changes clients.
func (w *listWorld) set(text string) {
	w.t.Helper()
	lines := linesOf(w.t, text)
	var ids []wire.Identifier
	for _, l := range lines {
		ids = append(ids, l.Client.Identifier)
	}
	err := w.editor.Edit(w.t.Context(), ids, func([]clients.Line) ([]clients.Line, error) { return lines, nil })
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *listWorld) remove(client string) {
	w.t.Helper()
	if found, err := w.editor.Remove(w.t.Context(), wire.Identifier([]byte(client))); err != nil || !found {
		w.t.Fatal(found, err)
	}
}

func linesOf(t *testing.T, text string) []clients.Line {
	t.Helper()
	lines, err := clients.Parse("list", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// knocks are those of a new attempt of a client.
func (w *listWorld) knocks(id, secret string) []client.Packet {
	w.t.Helper()
	w.base += 10
	packets, err := client.Sequence(client.Profile{
		Server: "x", PortSecret: "the port secret", Ports: 3, Service: ":8080",
		Identifier: wire.Identifier([]byte(id)), Secret: []byte(secret),
	}, w.clock.Clock().Wall(), w.base)
	if err != nil {
		w.t.Fatal(err)
	}
	return packets
}

// leasesOf returns the services for which a client has a lease.
func (g *listServer) leasesOf(client string) (services []string) {
	for _, l := range g.server.leases() {
		if l.Client == client && !slices.Contains(services, l.Service) {
			services = append(services, l.Service)
		}
	}
	slices.Sort(services)
	return services
}

// getsIn knocks until a client has a lease of exactly these services.
func (g *listServer) getsIn(client, secret string, services ...string) {
	g.t.Helper()
	looks := 0
	g.await(client+" gets in at "+g.address, func() bool {
		if looks%200 == 0 {
			g.send(g.world.knocks(client, secret))
		}
		looks++
		return slices.Equal(g.leasesOf(client), services)
	})
}

// loses waits until a client has a lease of these services only.
func (g *listServer) loses(what, client string, keeps ...string) {
	g.t.Helper()
	g.await(what, func() bool { return slices.Equal(g.leasesOf(client), keeps) })
}

// refused checks that knocks of a client open nothing.
func (g *listServer) refused(what, client, secret string) {
	g.t.Helper()
	before, seen := g.leasesOf(client), g.decided()
	packets := g.world.knocks(client, secret)
	g.send(packets)
	g.await("the decision", func() bool { return g.decided() >= seen+uint64(len(packets)) })
	time.Sleep(10 * time.Millisecond) // a lease would follow at once
	if now := g.leasesOf(client); !slices.Equal(now, before) {
		g.t.Errorf("%s: %s has got in: %v", what, client, now)
	}
}

// decided is how many knocks were decided on, by the kernel, the verifiers or the sessions.
func (g *listServer) decided() (n uint64) {
	n = g.server.ingest.Stats().Kernel
	for reason, count := range g.server.ingest.Stats().Reasons {
		if verify.Reason(reason) != verify.Authentic {
			n += count
		}
	}
	for _, count := range g.server.sessions.Stats() {
		n += count
	}
	return n
}

// inForce waits until the server has decided about the list in etcd, and returns its status.
func (g *listServer) inForce() (refused string) {
	g.t.Helper()
	status, err := g.server.AwaitList(g.t.Context())
	if err != nil {
		g.t.Fatal(err)
	}
	return status.Refused
}

// copied is the copy without its header.
func (g *listServer) copied() string {
	text, err := os.ReadFile(filepath.Join(g.dir, "state", config.ClientsCopyName))
	if err != nil {
		return err.Error()
	}
	_, lines, _ := strings.Cut(string(text), "\n")
	return lines
}

// holdWeb is an operation that opens the service web for a client until it is closed.
func holdWeb(client string) string {
	challenge := `[challenge]
ports = "300-999"
capture = "sockets"
[challenge.request]
scheme = "ranges"
data_bits = 2
[challenge.response]
scheme = "ranges"
base = 640
data_bits = 2
`
	if client != "com1" {
		challenge = ""
	}
	return challenge + fmt.Sprintf("[[operation]]\nid = \"h%s\"\nsecret = \"a secret of %s\"\nservice = \"web\"\nclient = %[1]q\nopen_for = \"until-closed\"\n", client, client)
}

// hold opens the service by that operation, for an address.
func (g *listServer) hold(client, address string) error {
	g.t.Helper()
	op, ok := g.server.challenge.operations.Load().byID["h"+client]
	if !ok {
		g.t.Fatal("there is no operation of " + client)
	}
	return g.server.execute([]command{op.command(proof{from: netip.MustParseAddr(address)}, g.world.clock.Clock().Wall())})[0]
}

// mayUse reports whether the operation of a client gets an answer.
func (g *listServer) mayUse(client string) bool {
	op, ok := g.server.challenge.operations.Load().byID["h"+client]
	return ok && g.server.challenge.allows(op.protocol, netip.MustParseAddr(fleetClient))
}

// proves reports whether a proof of that operation, from another address than hold, opens.
func (g *listServer) proves(client string) bool {
	before := len(g.server.leases())
	op := g.server.challenge.operations.Load().byID["h"+client]
	p := proof{exchanged(g.t, op.protocol, 0, 1), netip.MustParseAddr("192.0.2.77"), nil}
	g.server.challenge.executeProofs([]proof{p})
	return len(g.server.leases()) > before
}

// recorded is how many leases without an end the state directory has.
func (g *listServer) recorded() int {
	g.t.Helper()
	list, err := state.ReadKept(filepath.Join(g.dir, "state"))
	if err != nil {
		g.t.Fatal(err)
	}
	return len(list)
}
