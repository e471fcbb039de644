package firewall

import (
	"testing"
	"time"

	"sallyport/bench/netns"
)

// TestRemovedBeforeAChange: another program removes the table, and before it is
// looked after, something has to change. Whatever that is, the table is there
// afterwards, with what is granted and nothing else; and after Close with nothing.
func TestRemovedBeforeAChange(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newWorld(t)
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
