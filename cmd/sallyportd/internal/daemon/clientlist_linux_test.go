package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/fleet/etcdtest"
	"sallyport/verify/wire"
)

// TestListFollowed: a change of the list at one place is in force at two servers. A client
// that it removes, that another one replaces, or whose time is over loses its leases at
// both, and one with fewer services those of the others. A start with the same list changes
// nothing.
func TestListFollowed(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newListWorld(t, "com1 one 0\ncom2 two 0\ncom3 three 0\ncom4 four 0\n")
	a, b := w.server("127.0.0.1", "other").start(), w.server("127.0.0.2", "other").start()
	both := []*listServer{a, b}
	for _, g := range both {
		for client, secret := range map[string]string{"com1": "one", "com2": "two", "com3": "three", "com4": "four"} {
			g.getsIn(client, secret, "other", "web")
		}
	}
	w.set("com5 five 0 services=web\n")
	w.set("com2 two 0 services=other\n")
	w.set("com3 again 0\ncom4 four 0 expires=2020-01-01T00:00:00Z\n")
	w.remove("com1")
	for _, g := range both {
		g.loses("the removal", "com1")
		g.loses("fewer services", "com2", "other")
		g.loses("another client", "com3")
		g.loses("the end of its time", "com4")
		if refused := g.inForce(); refused != "" {
			t.Errorf("refused: %s", refused)
		}
		g.getsIn("com5", "five", "web")
		g.getsIn("com3", "again", "other", "web")
		g.refused("removed", "com1", "one")
		g.refused("its secret is gone", "com3", "three")
		g.refused("expired", "com4", "four")
		g.hasLines("reason=\"the client has expired\"", 2)
	}
	w.set("com5 more 0 old=five until=2099-01-01T00:00:00Z services=web\n") // a rotation
	w.remove("com2")
	a.loses("another removal", "com2")
	done, err := a.server.Restrict(t.Context(), admin.Restriction{Client: "com2"})
	if err != nil || done.Refused != "" || done.Clients != 3 {
		t.Errorf("revoked: %+v, %v", done, err)
	}
	if refused := a.inForce(); refused != "" || len(a.leasesOf("com5")) != 1 {
		t.Errorf("a rotation: %s, %v", refused, a.leasesOf("com5"))
	}
	if _, err := a.server.Restrict(t.Context(), admin.Restriction{Client: "com5"}); err == nil {
		t.Error("revoked a client that the list has")
	}
	const want = "com3 again 0\ncom4 four 0 expires=2020-01-01T00:00:00Z\ncom5 more 0 old=five until=2099-01-01T00:00:00Z services=web\n"
	if got := a.copied(); got != want {
		t.Errorf("the copy has %q", got)
	}
	b.await("the list", func() bool { return b.copied() == want && b.inForce() == "" })
	b.stop()
	before := b.lines("msg=reloaded")
	b.start()
	if refused := b.inForce(); refused != "" || b.copied() != want || b.lines("msg=reloaded") != before {
		t.Errorf("a start with the same list: %s, %q, %d", refused, b.copied(), b.lines("msg=reloaded")-before)
	}
	b.getsIn("com5", "five", "web")
	b.getsIn("com5", "more", "web")
	for _, g := range both {
		if n := g.lines("nothing reloaded") + g.lines("missing from"); n > 0 {
			t.Errorf("%d lines", n)
		}
	}
}

// TestListWithoutEtcd: a server that starts without etcd has the clients of its copy: leases
// without an end open again, and nothing else opens, no operation either. When etcd answers, the list comes
// before the first grant. A server without a copy waits.
func TestListWithoutEtcd(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newListWorld(t, "com1 one 0\ncom2 two 0\ncom3 three 0\n")
	g := w.server("127.0.0.1")
	g.configure(holdWeb("com1") + holdWeb("com2"))
	g.start()
	for _, client := range []string{"com1", "com2"} {
		if err := g.hold(client, fleetClient); err != nil {
			t.Fatal(err)
		}
	}
	used := w.knocks("com3", "three")
	g.getsIn("com3", "three", "web")
	g.stop()
	w.etcd.Kill()
	g.start()
	for _, client := range []string{"com1", "com2"} {
		g.await("the lease of "+client, func() bool { return len(g.leasesOf(client)) == 1 })
	}
	g.refused("without etcd", "com3", "three")
	if err := g.hold("com1", fleetStranger); !errors.Is(err, errNoListYet) {
		t.Errorf("an operation without etcd: %v", err)
	}
	if g.mayUse("com1") || g.proves("com1") {
		t.Error("an operation of a client opens before the list was read")
	}
	status, err := g.server.AwaitList(t.Context())
	if err != nil || !status.Unavailable || status.Refused == "" || status.Version != 0 {
		t.Errorf("without etcd: %+v, %v", status, err)
	}
	done, err := g.server.Restrict(t.Context(), admin.Restriction{Client: "com2", Named: true})
	if err != nil || done.Refused != "" {
		t.Errorf("revoked without etcd: %+v, %v", done, err)
	}
	g.loses("the revocation without etcd", "com2")
	_, err = g.server.Reload(t.Context())
	may := g.server.gate.Names(wire.Identifier([]byte("com2")))
	if err != nil || len(may) > 0 || g.server.reloads.table.Len() != 3 {
		t.Errorf("a reload: %v, com2 may open %v", err, may)
	}

	// The list changes while this server is cut off. A client that was removed does not get in
	// before the server has read that.
	g.way.Each((*etcdtest.Path).Cut)
	w.etcd.Restart(t)
	w.etcd.Ready(t)
	w.remove("com1")
	w.remove("com3")
	w.set("com4 four 0\n")
	g.way.Each((*etcdtest.Path).Heal)
	for range 10 {
		g.send(w.knocks("com3", "three"))
	}
	g.loses("the removal", "com1")
	g.getsIn("com4", "four", "web")
	if g.mayUse("com1") || !g.mayUse("com2") {
		t.Error("the operations are not those of the clients in the list")
	}
	g.send(used)
	g.refused("removed while it was cut off", "com3", "three")
	if got := g.copied(); got != "com2 two 0\ncom4 four 0\n" || len(g.leasesOf("com3")) > 0 {
		t.Errorf("the copy has %q; leases of com3: %v", got, g.leasesOf("com3"))
	}
	g.way.Each((*etcdtest.Path).Cut)
	g.await("the lost connection", func() bool { return errors.Is(g.hold("com2", fleetStranger), errListOld) })
	g.way.Each((*etcdtest.Path).Heal)
	g.await("the connection", func() bool { return g.hold("com2", fleetStranger) == nil })
	w.remove("com2")
	g.loses("another removal", "com2")
	g.stop()
	if kept := g.recorded(); kept != 0 {
		t.Errorf("%d leases without an end are left", kept)
	}

	// Without a copy.
	if err := os.Remove(filepath.Join(g.dir, "state", config.ClientsCopyName)); err != nil {
		t.Fatal(err)
	}
	w.etcd.Kill()
	ctx, cancel := context.WithCancel(t.Context())
	made := make(chan error)
	go func() { made <- g.make(ctx) }()
	g.await("the line of the log", func() bool { return g.lines("waiting for the list of clients") > 0 })
	cancel()
	if err := <-made; !errors.Is(err, context.Canceled) {
		t.Errorf("stopped while it waited: %v", err)
	}
	go func() { made <- g.make(t.Context()) }()
	g.await("the line of the log", func() bool { return g.lines("waiting for the list of clients") == 2 })
	w.etcd.Restart(t)
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	g.run()
	g.getsIn("com4", "four", "web")
	if n := g.lines("waiting for the list of clients"); n != 2 {
		t.Errorf("%d lines", n)
	}
}

// TestFirstList: a server that starts before there is a list has no clients, and the first
// list brings them.
func TestFirstList(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newListWorld(t, "")
	g := w.server("127.0.0.1").start()
	if refused := g.inForce(); !strings.Contains(refused, "there is no list of clients in etcd") {
		t.Errorf("without a list: %s", refused)
	}
	if _, err := g.server.Reload(t.Context()); err != nil {
		t.Error(err)
	}
	g.refused("without a list", "com1", "one")
	w.imports("com1 one 0\n")
	g.getsIn("com1", "one", "web")
	if refused := g.inForce(); refused != "" || g.copied() != "com1 one 0\n" {
		t.Errorf("the first list: %s, %q", refused, g.copied())
	}
	// A list that is lost is no removal of all clients.
	if _, err := w.etcd.Root().Delete(t.Context(), "/sallyport/clients/list"); err != nil {
		t.Fatal(err)
	}
	if refused := g.inForce(); !strings.Contains(refused, "there is no list") || len(g.leasesOf("com1")) != 1 {
		t.Errorf("a lost list: %s, %v", refused, g.leasesOf("com1"))
	}
	g.stop()
	g.start()
	g.getsIn("com1", "one", "web")
}

// TestListRefused: a list that was altered, or that went back, changes nothing, and the log
// has each once. An operator accepts one that went back, and another whole list heals both.
func TestListRefused(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newListWorld(t, "com1 one 0\n")
	g := w.server("127.0.0.1").start()
	g.getsIn("com1", "one", "web")
	if refused := g.inForce(); refused != "" {
		t.Fatal(refused)
	}
	backup := w.etcd.Snapshot(t)
	w.set("com2 two 0\n")
	g.getsIn("com2", "two", "web")
	copied := g.copied()
	for i := range 3 {
		_, err := w.etcd.Root().Put(t.Context(), "/sallyport/clients/list", fmt.Sprint("\x01altered", i))
		if err != nil {
			t.Fatal(err)
		}
		if refused := g.inForce(); !strings.Contains(refused, "altered without its key") {
			t.Errorf("altered: %q", refused)
		}
	}
	g.hasLines("list of clients in etcd refused", 1)
	g.getsIn("com1", "one", "web")
	w.etcd.Restore(t, backup, true)
	w.etcd.Ready(t)
	g.await("the refusal", func() bool { return g.server.list.Roster().Stats().Held })
	status, err := g.server.AwaitList(t.Context())
	if err != nil || !strings.Contains(status.Refused, "etcd went back to version") || status.Hint == "" || !status.Held || status.Unavailable {
		t.Errorf("went back: %+v, %v", status, err)
	}
	g.hasLines("list of clients in etcd refused", 2)
	if g.copied() != copied || len(g.leasesOf("com2")) != 1 {
		t.Errorf("the copy has %q, com2 has %v", g.copied(), g.leasesOf("com2"))
	}
	list := g.server.status().Fleet.List
	if list.Version != status.Version || !strings.Contains(list.Refused, "etcd went back to version") {
		t.Errorf("the status of a list that went back: %+v", list)
	}
	// A reload does not change that, nor does a restart.
	if _, err := g.server.Reload(t.Context()); err != nil || g.server.reloads.clients != 2 {
		t.Errorf("a reload: %d clients, %v", g.server.reloads.clients, err)
	}
	g.stop()
	g.start()
	if refused := g.inForce(); !strings.Contains(refused, "etcd went back to version") || g.copied() != copied {
		t.Errorf("after a restart: %q, %q", refused, g.copied())
	}
	status, err = g.server.AcceptList(t.Context())
	if err != nil || status.Refused != "" || status.Held || status.Clients != 1 {
		t.Errorf("accepted: %+v, %v", status, err)
	}
	if st := g.server.status(); st.Fleet.List.Refused != "" || st.Clients != 1 {
		t.Errorf("the status of an accepted list: %d clients, %+v", st.Clients, st.Fleet.List)
	}
	if got := g.copied(); got != "com1 one 0\n" {
		t.Errorf("accepted: the copy has %q", got)
	}
	w.imports("com3 three 0\n")
	if refused := g.inForce(); refused != "" || g.copied() != "com3 three 0\n" {
		t.Errorf("another list: %s, %q", refused, g.copied())
	}
}
