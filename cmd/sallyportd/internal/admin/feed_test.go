package admin

import (
	"net/netip"
	"testing"
	"time"
)

func TestWatchersDelayNoGrant(t *testing.T) {
	var f Feed
	if f.Watched() {
		t.Error("watched before anything watches")
	}
	grant := Grant{Time: time.Unix(1, 0), Client: "com1", Address: netip.MustParseAddr("198.51.100.1"), Services: []string{"web"}}
	grants, cancel, err := f.subscribe()
	if err != nil {
		t.Fatal(err)
	}
	for range watchQueue + 3 { // nothing reads
		f.Publish(grant)
	}
	for range watchQueue {
		if g := <-grants; g.Client != "com1" || g.Address != grant.Address || g.Missed != 0 {
			t.Fatalf("%+v", g)
		}
	}
	f.Publish(grant)
	if g := <-grants; g.Missed != 3 {
		t.Errorf("%d missed, want 3", g.Missed)
	}
	for range maxWatchers - 1 {
		if _, _, err := f.subscribe(); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := f.subscribe(); err == nil {
		t.Error("any number may watch")
	}
	cancel()
	if _, _, err := f.subscribe(); err != nil {
		t.Error(err)
	}
}
