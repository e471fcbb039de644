package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/fleetlist"
	"sallyport/sessions/client"
	"sallyport/sessions/fleet/roster"
	"sallyport/verify/wire"
)

// TestFleetList: three gateways move from clients files to one list. From then on, a change
// at one place is in force at each, whatever happens to a gateway meanwhile: it is killed,
// or cut off and started again. A removed client gets in nowhere.
func TestFleetList(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newFleetWorld(t, 1)
	list := w.moveToList(t)
	for _, g := range w.gateways {
		w.getInEverywhere(t, g, w.gateways)
	}

	// A new client, another secret, a removal.
	one := w.newGuest("new1", "first")
	list.set(t, "new1 first 0")
	for _, g := range w.gateways {
		w.getInAs(t, g, one)
	}
	list.set(t, "new1 second 0 old=first until=2099-01-01T00:00:00Z")
	w.getInAs(t, w.gateways[0], one)
	one.profile.Secret = []byte("second")
	one.nonces.Path += ".second"
	last := w.getInEverywhere(t, w.gateways[1], w.gateways)
	rotated := w.getInAs(t, w.gateways[2], one)
	list.remove(t, "new1", last.guest.name())
	for _, g := range w.gateways {
		netns.Until(t, "the leases end", func() bool { return !serves(last.from(), g, 8081, time.Second) }, w.logs)
	}
	netns.Until(t, "the lease of the new client ends", func() bool { return !serves(rotated.from(), w.gateways[2], 8080, time.Second) }, w.logs)
	gone := []*fleetAttempt{}
	for _, g := range w.gateways {
		gone = append(gone, w.knock(t, g, one), w.knock(t, g, last.guest))
	}
	w.forget(last.guest)

	// A gateway is killed while the list changes.
	g := w.gateways[1]
	for i := range 4 {
		written := make(chan struct{})
		go func() {
			defer close(written)
			for k := range 5 {
				list.set(t, fmt.Sprintf("k%d%02d secret 0", i, k))
			}
		}()
		time.Sleep(time.Duration(w.chance.IntN(60)) * time.Millisecond)
		g.kill()
		g.start(t)
		<-written
	}
	w.agree(t, list)

	// A gateway is cut off, and starts again with its copy.
	g = w.gateways[2]
	stays, leaves := w.anyGuest(), w.anyGuest()
	for stays == leaves {
		leaves = w.anyGuest()
	}
	g.dropRequests(t, 0, 1, 2)
	g.end(t)
	g.start(t)
	list.remove(t, leaves.name())
	g.heal(t)
	for range 5 {
		gone = append(gone, w.knock(t, g, leaves))
	}
	w.getInAs(t, g, stays)
	w.forget(leaves)
	gone = append(gone, w.knock(t, g, leaves))
	w.agree(t, list)

	// Without a copy it waits, and can be stopped.
	g.dropRequests(t, 0, 1, 2)
	g.end(t)
	if err := os.Remove(g.copy()); err != nil {
		t.Fatal(err)
	}
	waiting := func() (serving <-chan bool) {
		g.server, serving = launchBy(t, g.starts, "/proc/self/exe", g.dir, stepVariable+"="+g.step)
		awaitLog(t, g.server, "waiting for the list of clients", 1)
		return serving
	}
	waiting()
	if err := g.server.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	netns.Until(t, "the server ends", g.server.hasEnded, g.log)
	g.server.cmd.Wait()
	g.past = append(g.past, g.server.log())
	serving := waiting()
	g.heal(t)
	if !<-serving {
		t.Fatalf("the server does not start:\n%s", g.log())
	}
	w.agree(t, list)
	w.getIn(t, g)
	for _, a := range gone {
		for _, g := range w.gateways {
			if n := g.opened("local", a.from()) + g.opened("shared", a.from()); n > 0 {
				t.Errorf("the removed client %s got in at gateway %d", a.guest.name(), g.number)
			}
		}
	}
	w.judgeNow(t)
}

// worldList changes the list of a world.
type worldList struct{ *fleetlist.List }

// moveToList makes the list of the clients files, and restarts the gateways with it.
func (w *fleetWorld) moveToList(t *testing.T) worldList {
	t.Helper()
	key := filepath.Join(t.TempDir(), "key")
	if err := roster.NewKeyFile(key); err != nil {
		t.Fatal(err)
	}
	secret, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range w.gateways {
		if err := os.WriteFile(filepath.Join(g.dir, "clients_key"), secret, 0o600); err != nil {
			t.Fatal(err)
		}
		(&shieldWorld{dir: g.dir}).edit(t, config.FileName, "clients = \"clients.txt\"", "clients = \"fleet\"")
	}
	// A reload does not change that.
	first := w.gateways[0].server
	if err := first.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	awaitLog(t, first, "clients has changed, which requires a restart", 1)
	cfg, err := config.Load(filepath.Join(w.gateways[0].dir, config.FileName), config.Secrets)
	if err != nil {
		t.Fatal(err)
	}
	l, err := fleetlist.Open(cfg, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	lines, err := clients.Parse("clients.txt", strings.NewReader(w.clients()))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Import(t.Context(), lines); err != nil {
		t.Fatal(err)
	}
	for _, g := range w.gateways {
		g.end(t)
		g.start(t)
	}
	return worldList{l}
}

// end stops a gateway in order.
func (g *fleetGateway) end(t *testing.T) {
	t.Helper()
	g.server.end(t, syscall.SIGTERM)
	g.past, g.server = append(g.past, g.server.log()), nil
}

func (g *fleetGateway) copy() string { return filepath.Join(g.dir, "state", config.ClientsCopyName) }

func (w *fleetWorld) newGuest(id, secret string) *guest {
	return &guest{client.Profile{
		Server: "gateway", PortSecret: "the port secret", Ports: 2, Identifier: wire.Identifier([]byte(id)), Secret: []byte(secret),
	}, client.NonceFile{Path: filepath.Join(filepath.Dir(w.guests[0].nonces.Path), id)}, w.clock.now}
}

// forget makes no further attempt of a client.
func (w *fleetWorld) forget(one *guest) {
	for i, g := range w.guests {
		if g == one {
			w.guests = append(w.guests[:i:i], w.guests[i+1:]...)
			return
		}
	}
}

func (l worldList) set(t *testing.T, line string) {
	t.Helper()
	lines, err := clients.Parse("list", strings.NewReader(line+"\n"))
	if err == nil {
		err = l.Edit(t.Context(), []wire.Identifier{lines[0].Client.Identifier}, func([]clients.Line) ([]clients.Line, error) { return lines, nil })
	}
	if err != nil {
		t.Error(err)
	}
}

func (l worldList) remove(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if found, err := l.Remove(t.Context(), wire.Identifier([]byte(name))); err != nil || !found {
			t.Error(name, found, err)
		}
	}
}

// agree waits until each gateway has the list, and its copy.
func (w *fleetWorld) agree(t *testing.T, list worldList) {
	t.Helper()
	lines, _, err := list.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for _, l := range lines {
		want.WriteString(l.Text + "\n")
	}
	for _, g := range w.gateways {
		netns.Until(t, fmt.Sprintf("gateway %d has the list", g.number), func() bool {
			text, err := os.ReadFile(g.copy())
			_, copied, _ := strings.Cut(string(text), "\n")
			return err == nil && copied == want.String()
		}, w.logs)
	}
}
