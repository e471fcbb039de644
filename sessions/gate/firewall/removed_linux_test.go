package firewall

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/access"
)

// TestRemovedBeforeAChange: another program removes the table, and a method is
// called before Keep repairs it. Afterwards the table exists, with exactly the
// grants; after Close with none.
func TestRemovedBeforeAChange(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newNetwork(t)
	f := w.claim(Config{Ports: []Port{{Protocol: TCP, Port: 2000}}, Stealth: true})
	w.must(f.grant(0, client4, time.Hour))
	for _, row := range []struct {
		name    string
		change  func() error
		granted int
	}{
		{"a grant", func() error { return f.grant(0, client6, time.Hour) }, 2},
		{"a revocation", func() error { return f.revoke(0, client6) }, 1},
		{"knock ports", func() error { return f.OpenKnockPorts([]uint16{3000}, time.Minute) }, 1},
		{"the end", f.Close, 0},
		{"the end, again", f.Close, 0},
	} {
		w.nft("flush ruleset")
		if err := row.change(); err != nil {
			t.Errorf("%s: %v", row.name, err)
		}
		there, err := Present()
		w.must(err)
		if !there {
			t.Fatalf("%s: the table is gone, and the port open", row.name)
		}
		if n, err := f.granted(); err != nil || n != row.granted {
			t.Errorf("%s: %d grants, want %d; %v", row.name, n, row.granted, err)
		}
	}
}

// TestMissingSet: the error for a set that does not exist is the kernel's.
func TestMissingSet(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	batch, err := newBatch()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := elementsOf(batch, &nftables.Set{Table: table, Name: exceptSet}); !errors.Is(err, unix.ENOENT) {
		t.Errorf("got %v", err)
	}
}

// TestReadWhileOthersRemove: a table that another program removes while it is
// read is there or not there, and no error.
func TestReadWhileOthersRemove(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newNetwork(t)
	f := w.claim(Config{Ports: []Port{{Protocol: TCP, Port: 2000}}, Stealth: true})
	done := make(chan struct{})
	removed := make(chan error, 1)
	go func() {
		defer close(done)
		for range 40 {
			batch, err := newBatch()
			if err == nil {
				batch.DelTable(table)
				err = batch.Flush()
			}
			if err == nil {
				_, err = f.Restore()
			}
			if err != nil {
				removed <- err
				return
			}
		}
	}()
	for running := true; running; {
		if _, err := read(); err != nil {
			t.Error(err)
		}
		select {
		case <-done:
			running = false
		default:
		}
	}
	select {
	case err := <-removed:
		t.Error(err)
	default:
	}
}

// TestRestoresOnlyGrants: a restored table does not contain elements that the
// kernel refused, or whose revocation failed.
func TestRestoresOnlyGrants(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newNetwork(t)
	f := w.claim(Config{Ports: []Port{{Protocol: TCP, Port: 2000}}})
	// A table of another program with our name refuses a second grant, and is
	// then removed.
	w.nft(`flush ruleset
		table inet ` + Name + ` { set tcp_2000_granted4 { type ipv4_addr; flags timeout; size 1; }; }`)
	w.must(f.grant(0, client4, time.Hour))
	if err := f.grant(0, stranger4, time.Hour); err == nil {
		t.Fatal("a set of one element has room for two")
	}
	restored := func(want int) {
		t.Helper()
		w.nft("flush ruleset")
		if _, err := f.Restore(); err != nil {
			t.Fatal(err)
		}
		if n, err := f.granted(); err != nil || n != want {
			t.Errorf("%d grants, want %d; %v", n, want, err)
		}
	}
	restored(1)
	f.record(targets{grantOf(f, client4): 0}, false) // the kernel did not answer
	restored(0)
}

// TestRestoredInParts: the kernel once refuses a part of the grants. The next
// comparison restores it.
func TestRestoredInParts(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newNetwork(t)
	f := w.claim(Config{Ports: []Port{{Protocol: TCP, Port: 2000}}})
	w.must(f.grant(0, client4, time.Hour))
	w.must(f.grant(0, client6, time.Hour))
	refused := element{f.ports[serviceOf(0)].granted4.Name, "no key"}
	f.confirmed[refused] = f.clock.Monotonic().Add(time.Hour)
	w.nft("flush ruleset")
	if r, err := f.Restore(); err != nil || r.Fault != Removed || r.Err == nil {
		t.Fatalf("the kernel took an element that cannot be: %+v, %v", r, err)
	}
	delete(f.confirmed, refused)
	for _, want := range []Fault{Lacking, ""} {
		if r, err := f.Restore(); err != nil || r.Err != nil || r.Fault != want {
			t.Errorf("restored: %+v, want %q; %v", r, want, err)
		}
		if n, err := f.granted(); err != nil || n != 2 {
			t.Errorf("%d grants, want 2; %v", n, err)
		}
	}
}

// grantOf returns a client's element of the first port.
func grantOf(f *Table, client netip.Addr) element {
	return f.ports[serviceOf(0)].grant(access.PeerOf(client, access.PrefixNetwork))
}
