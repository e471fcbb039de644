package daemon

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/fleet/etcdtest"
	"sallyport/sessions/fleet/roster"
)

// TestListOnAFullDisk: a revocation is in force although nothing can be written.
func TestListOnAFullDisk(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newListWorld(t, "com1 one 0\ncom2 two 0\n")
	g := w.server("127.0.0.1")
	dir := filepath.Join(g.dir, "state")
	moved := filepath.Join(g.dir, "moved")
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("small", dir, "tmpfs", 0, "size=64m"); err != nil {
		t.Skipf("file systems cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	if err := os.CopyFS(dir, os.DirFS(moved)); err != nil {
		t.Fatal(err)
	}
	g.start()
	g.getsIn("com1", "one", "web")
	g.getsIn("com2", "two", "web")
	fill := filepath.Join(dir, "fill")
	if err := os.WriteFile(fill, make([]byte, 128<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	before := g.copied()
	w.remove("com1")
	g.loses("the removal", "com1")
	g.refused("removed", "com1", "one")
	if len(g.leasesOf("com2")) != 1 || g.copied() != before {
		t.Errorf("com2 has %v, the copy %q", g.leasesOf("com2"), g.copied())
	}
	// A reload does not give the rights back.
	g.server.Reload(t.Context())
	g.refused("removed, and a reload", "com1", "one")
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	g.await("the copy", func() bool { return g.copied() == "com2 two 0\n" })
	g.getsIn("com2", "two", "web")
	for _, line := range []string{"copy of the list of clients not written", "version of the list of clients not written"} {
		g.hasLines(line, 1)
	}
}

// TestListThatOneRefuses: a list with a service that one server lacks is in force at the
// other one. The first keeps its list, without the rights that the new one takes away, and
// logs the reason once. A restart there does not succeed before the list is corrected.
func TestListThatOneRefuses(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newListWorld(t, "com1 one 0\ncom2 two 0\n")
	a, b := w.server("127.0.0.1", "other").start(), w.server("127.0.0.2").start()
	b.getsIn("com1", "one", "web")
	b.getsIn("com2", "two", "web")
	w.set("com3 three 0 services=other\n")
	a.getsIn("com3", "three", "other")
	refused := b.inForce()
	if !strings.Contains(refused, `service "other" is not configured`) || strings.Contains(refused, "three") {
		t.Errorf("refused: %q", refused)
	}
	w.remove("com1")
	b.loses("the removal", "com1")
	b.refused("removed", "com1", "one")
	b.refused("of a refused list", "com3", "three")
	b.getsIn("com2", "two", "web")
	if _, err := b.server.Reload(t.Context()); err == nil {
		t.Error("a reload with a list that the server refuses")
	}
	b.refused("removed, and a reload", "com1", "one")
	done, err := b.server.Restrict(t.Context(), admin.Restriction{Client: "com2"})
	if err != nil || !strings.Contains(done.Refused, "not configured") {
		t.Errorf("revoked: %+v, %v", done, err)
	}
	b.loses("the revocation", "com2")
	b.hasLines("list of clients in etcd refused", 1)
	b.stop()
	if err := b.make(t.Context()); err == nil || !strings.Contains(err.Error(), `service "other" is not configured`) {
		t.Errorf("a start with a list that the server refuses: %v", err)
	}
	w.set("com3 three 0 services=web\n")
	b.start()
	b.getsIn("com3", "three", "web")
	if b.copied() != "com2 two 0\ncom3 three 0 services=web\n" || b.inForce() != "" {
		t.Errorf("corrected: %q, %s", b.copied(), b.inForce())
	}
}

// TestWholeListRefused: a server that starts, and refuses the list as a whole, takes away
// what the list takes from clients that stay: services, and a secret.
func TestWholeListRefused(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newListWorld(t, "com1 one 0\ncom2 two 0\ncom3 three 0\n")
	g := w.server("127.0.0.1", "more").start()
	g.getsIn("com1", "one", "more", "web")
	g.stop()
	w.set("com1 one 0 services=web\ncom2 changed 0\ncom4 four 0 services=other\n")
	g.start()
	if refused := g.inForce(); !strings.Contains(refused, "not configured") {
		t.Errorf("refused: %q", refused)
	}
	g.getsIn("com3", "three", "more", "web")
	g.getsIn("com1", "one", "web")
	g.refused("with a secret that was replaced", "com2", "two")
	w.remove("com4")
	g.getsIn("com2", "changed", "more", "web")
}

// TestListRace: changes at one place, reloads at two servers, restarts of one, and lost
// connections at the same time end in the same list at both, without an error in the log.
func TestListRace(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newListWorld(t, "com0 zero 0\n")
	a, b := w.server("127.0.0.1").start(), w.server("127.0.0.2").start()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		for ctx.Err() == nil {
			if _, err := a.server.Reload(t.Context()); err != nil {
				t.Errorf("a reload: %v", err)
			}
		}
	})
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			switch i % 8 {
			case 0:
				a.way.Each((*etcdtest.Path).Cut)
				a.way.Each((*etcdtest.Path).Heal)
			case 4:
				if _, err := a.server.AwaitList(t.Context()); err != nil {
					t.Error(err)
				}
			default:
				a.server.Restrict(t.Context(), admin.Restriction{Client: "com0", Services: []string{"web"}})
			}
		}
	})
	want := "com0 zero 0\n"
	for i := range 30 {
		w.set(fmt.Sprintf("c%03d secret%d 0\nd%03d secret%d 0\n", i, i, i, i))
		w.remove(fmt.Sprintf("d%03d", i))
		if want = fmt.Sprintf("c%03d secret%d 0\n", i, i) + want; i%10 == 9 {
			b.stop()
			b.start()
		}
	}
	cancel()
	wg.Wait()
	lines := strings.SplitAfter(want, "\n")
	for i := range 15 { // in the order of the identifiers
		lines[i], lines[29-i] = lines[29-i], lines[i]
	}
	want = strings.Join(lines, "")
	for _, g := range []*listServer{a, b} {
		g.await("the list", func() bool { return g.inForce() == "" && g.copied() == want })
		g.server.reloads.mu.Lock()
		clients, failed := g.server.reloads.clients, g.server.reloads.failed
		g.server.reloads.mu.Unlock()
		n := g.lines("nothing reloaded") + g.lines("list of clients in etcd refused")
		if n > 0 || clients != 31 || failed != "" {
			t.Errorf("%d lines, %d clients, %s\n%s", n, clients, failed, g.log.String())
		}
		g.getsIn("c029", "secret29", "web")
		g.refused("removed", "d029", "secret29")
	}
}

// TestListKey: a reload reads the key of the list again; a list that is sealed with another
// key is refused until then. A copy that another program has changed is not in force.
func TestListKey(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newListWorld(t, "com1 one 0\n")
	g := w.server("127.0.0.1").start()
	key := filepath.Join(g.dir, "clients_key")
	if err := roster.RotateKeyFile(key); err != nil {
		t.Fatal(err)
	}
	rotated := g.config().Fleet.ClientsKey
	w.editor.Roster().SetKey(rotated)
	if err := w.editor.Roster().Reseal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if refused := g.inForce(); !strings.Contains(refused, "is sealed with the key "+rotated.IDs()[0]) {
		t.Errorf("another key: %q", refused)
	}
	g.getsIn("com1", "one", "web")
	if _, err := g.server.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if refused := g.inForce(); refused != "" {
		t.Errorf("after a reload: %s", refused)
	}
	w.set("com2 two 0\n")
	g.getsIn("com2", "two", "web")

	path := filepath.Join(g.dir, "state", config.ClientsCopyName)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(string(text)+"com9 nine 0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = g.server.Reload(t.Context())
	if err == nil || !strings.Contains(err.Error(), "another program has changed") {
		t.Errorf("a changed copy: %v", err)
	}
	g.await("the copy", func() bool { return g.copied() == "com1 one 0\ncom2 two 0\n" })
	if _, err := g.server.Reload(t.Context()); err != nil {
		t.Error(err)
	}
	g.refused("of a changed copy", "com9", "nine")
	g.stop()
	if err := os.WriteFile(path, []byte(string(text)+"com9 nine 0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.start()
	g.refused("of a changed copy, at the start", "com9", "nine")
	if got := g.copied(); got != "com1 one 0\ncom2 two 0\n" {
		t.Errorf("the copy has %q", got)
	}
}
