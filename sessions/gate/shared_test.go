package gate

import (
	"bytes"
	"errors"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

// TestSharedGrant: a grant of another gateway opens the shared services that its client
// may open, for the time that is left by the grant and by the service, and extends none.
func TestSharedGrant(t *testing.T) {
	wall, boot := epoch, epoch.Add(time.Hour)
	c := clock.Clock{Wall: func() time.Time { return wall }, Monotonic: func() time.Time { return boot }, Boot: func() time.Time { return boot }}
	opened := map[string]*recorded{}
	var list []*Service
	for _, of := range []struct {
		name              string
		shared, elsewhere bool
		openFor           time.Duration
	}{{"local", false, false, time.Minute}, {"short", true, false, 10 * time.Second}, {"long", true, false, time.Minute}, {"elsewhere", true, true, time.Hour}} {
		opened[of.name] = &recorded{}
		list = append(list, NewService(ServiceConfig{
			Name: of.name, Shared: of.shared, Elsewhere: of.elsewhere, PrefixLen6: 128, Enforcers: []access.Enforcer{opened[of.name]},
			Policy: LeasePolicy{OpenFor: of.openFor, OpenMax: time.Hour, Addresses: 8}, Clock: c, Log: slog.New(slog.DiscardHandler),
		}))
	}
	only := verifytest.ID("com2")
	s, err := NewServices(list, func(yield func(wire.Identifier, []access.ServiceID) bool) {
		yield(only, []access.ServiceID{access.ID("local"), access.ID("short")})
	})
	if err != nil {
		t.Fatal(err)
	}
	expect := func(what, name, address string, want time.Duration) {
		t.Helper()
		until := opened[name].open[access.PeerIn(grant("com1", address).Address, 32, 128)]
		if left := until.Sub(boot); until.IsZero() && want != 0 || !until.IsZero() && left != want {
			t.Errorf("%s: %s is open for %s, want %s", what, name, left, want)
		}
	}
	share := func(client, address string, from, until time.Duration) {
		t.Helper()
		for _, err := range s.OpenShared([]SharedGrant{{grant(client, address), wall.Add(from), wall.Add(until)}}) {
			if err != nil {
				t.Error(err)
			}
		}
	}
	for _, row := range []struct {
		what, client, address string
		from, until           time.Duration
		short, long           time.Duration
	}{
		{"new", "com1", "192.0.2.1", 0, time.Hour, 10 * time.Second, time.Minute},
		{"the grant's end", "com1", "192.0.2.2", 0, 5 * time.Second, 5 * time.Second, 5 * time.Second},
		{"made a while ago", "com1", "192.0.2.3", -8 * time.Second, time.Hour, 2 * time.Second, 52 * time.Second},
		{"over for one service", "com1", "192.0.2.4", -10 * time.Second, time.Hour, 0, 50 * time.Second},
		{"over", "com1", "192.0.2.5", -2 * time.Minute, time.Hour, 0, 0},
		{"ended", "com1", "192.0.2.6", 0, 0, 0, 0},
		{"a clock ahead", "com1", "192.0.2.7", 2 * time.Minute, time.Hour, 10 * time.Second, time.Minute},
		{"without the right", "com2", "192.0.2.8", 0, time.Hour, 10 * time.Second, 0},
	} {
		share(row.client, row.address, row.from, row.until)
		expect(row.what, "local", row.address, 0)
		expect(row.what, "short", row.address, row.short)
		expect(row.what, "long", row.address, row.long)
	}
	wide := grant("com1", "192.0.2.9")
	wide.Differ = 1
	s.OpenShared([]SharedGrant{{wide, wall, wall.Add(time.Hour)}})
	expect("from two addresses", "long", "192.0.2.9", 0)

	if err := s.openOne(grant("com1", "192.0.2.2")); err != nil { // adds to the 5 s, here
		t.Fatal(err)
	}
	share("com1", "192.0.2.2", 0, time.Second)
	expect("a lease that lasts longer", "short", "192.0.2.2", 15*time.Second)
	s.CloseShared(grant("com1", "192.0.2.2"))
	for name, want := range map[string]time.Duration{"local": time.Minute, "short": 0, "long": 0} {
		expect("revoked", name, "192.0.2.2", want)
	}
	expect("revoked for another address", "long", "192.0.2.1", time.Minute)
	// A service that other gateways have opens nothing here, and has its time there.
	expect("elsewhere", "elsewhere", "192.0.2.1", 0)
	expect("elsewhere", "elsewhere", "192.0.2.2", 0)
	if s.Covers(access.ID("elsewhere"), grant("com1", "192.0.2.1")) || s.SharedFor(verifytest.ID("com1")) != time.Hour {
		t.Errorf("shared for %s, want that of the service elsewhere", s.SharedFor(verifytest.ID("com1")))
	}
	if got := s.SharedFor(only); got != 10*time.Second {
		t.Errorf("shared for %s, want that of the one service", got)
	}

	opened["short"].fail = errors.New("no room")
	errs := s.OpenShared([]SharedGrant{{grant("com1", "192.0.2.10"), wall, wall.Add(time.Hour)}, {grant("com1", "192.0.2.5"), wall, wall}})
	if len(errs) != 2 || errs[0] == nil || errs[1] != nil {
		t.Errorf("errors %v, want one of the first", errs)
	}
	expect("another service fails", "long", "192.0.2.10", time.Minute)
}

// TestSharedGrantNarrowed: a grant of another gateway does not open with rights that its
// client lost while the grant waited for a service: the end of the leases may have passed.
func TestSharedGrantNarrowed(t *testing.T) {
	t.Parallel()
	at := func() time.Time { return epoch }
	opened := &recorded{}
	service := NewService(ServiceConfig{
		Name: "web", Shared: true, PrefixLen6: 128, Enforcers: []access.Enforcer{opened},
		Policy: LeasePolicy{OpenFor: time.Minute, OpenMax: time.Hour, Addresses: 8},
		Clock:  clock.Clock{Wall: at, Monotonic: at, Boot: at}, Log: slog.New(slog.DiscardHandler),
	})
	s, err := NewServices([]*Service{service}, nil)
	if err != nil {
		t.Fatal(err)
	}
	service.mu.Lock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.OpenShared([]SharedGrant{{Grant: grant("com1", "192.0.2.1"), From: epoch, Until: epoch.Add(time.Minute)}})
	}()
	for stacks := make([]byte, 1<<20); !waitsForLock(stacks[:runtime.Stack(stacks, true)], "(*Services).OpenShared"); {
		runtime.Gosched()
	}
	_, err = s.Narrow(func(yield func(wire.Identifier, []access.ServiceID) bool) { yield(verifytest.ID("com1"), nil) })
	service.mu.Unlock()
	if <-done; err != nil || len(opened.open) > 0 {
		t.Fatalf("error %v, open to %v; want nobody", err, opened.open)
	}
}

// waitsForLock reports whether a goroutine waits for a mutex in a function.
func waitsForLock(stacks []byte, function string) bool {
	for _, one := range bytes.Split(stacks, []byte("\n\n")) {
		if bytes.Contains(one, []byte(function)) && bytes.Contains(one, []byte("lockSlow")) {
			return true
		}
	}
	return false
}
