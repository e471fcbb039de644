package daemon

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/bench/netns"
	"sallyport/sessions/fleet/roster"
	"sallyport/verify/wire"
)

// TestUrgent: a list that takes rights away does not wait for the one that is being put in
// force, and that one does not give them back.
func TestUrgent(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newListWorld(t, "com1 one 0\ncom2 two 0\ncom3 three 0\ncom4 four 0\n")
	g := w.server("127.0.0.1", "other").start()
	for client, secret := range map[string]string{"com1": "one", "com2": "two", "com3": "three", "com4": "four"} {
		g.getsIn(client, secret, "other", "web")
	}
	// A change that takes long, as one of a million clients.
	g.server.reloads.mu.Lock()
	w.set("com5 five 0\n")
	head, err := w.editor.Roster().Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	g.await("the change begins", func() bool {
		text, err := os.ReadFile(filepath.Join(g.dir, "state", roster.FloorFile))
		return err == nil && strings.Contains(string(text), fmt.Sprint("version ", head.Version, "\n"))
	})
	w.remove("com1")
	w.set("com2 two 0 services=other\n")
	w.set("com3 three 0 expires=2020-01-01T00:00:00Z\n")
	w.set("com4 again 0\n")
	g.loses("the removal", "com1")
	g.loses("fewer services", "com2", "other")
	g.loses("the end of its time", "com3")
	g.loses("another secret", "com4")
	g.refused("removed", "com1", "one")
	g.refused("its secret is gone", "com4", "four")
	g.server.reloads.mu.Unlock()
	if refused := g.inForce(); refused != "" {
		t.Error(refused)
	}
	awaitSecond(t.Context(), w.clock.Clock(), g.server.start.since()) // new clients can get in
	g.refused("removed, after the change", "com1", "one")
	g.getsIn("com5", "five", "other", "web")
	g.getsIn("com4", "again", "other", "web")
	g.getsIn("com2", "two", "other")

	// A reload of an older list does not give the rights back, as long as the newer one is not
	// in force.
	g.server.narrowNewer(t.Context(), math.MaxUint64, []roster.Change{
		{ID: wire.Identifier([]byte("com5"))}, {ID: wire.Identifier([]byte("com4")), Line: []byte("com4 again 0 services=web")},
	})
	g.loses("a newer list", "com5")
	g.loses("a newer list", "com4", "web")
	if _, err := g.server.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitSecond(t.Context(), w.clock.Clock(), g.server.start.since())
	g.refused("a newer list, and a reload", "com5", "five")
	g.getsIn("com4", "again", "web")
	g.server.urgent.clear()
	if _, err := g.server.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.getsIn("com5", "five", "other", "web")
	g.getsIn("com4", "again", "other", "web")
}
