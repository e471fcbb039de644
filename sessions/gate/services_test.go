package gate

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/verify/wire"
)

// TestRestrictedInEveryStepOfAChange: neither who comes nor who goes may open
// more than he may for an instant.
func TestRestrictedInEveryStepOfAChange(t *testing.T) {
	s, err := NewServices([]*Service{serviceOf("web", 128), serviceOf("ssh", 128)}, map[wire.Identifier]Rights{client(1): 1, client(2): 1, client(3): 1})
	if err != nil {
		t.Fatal(err)
	}
	// The first leaves, the second may open all from now on, the third stays as
	// he was, and the fourth is new.
	next := map[wire.Identifier]Rights{client(3): 1, client(4): 1}
	isClient := func(id wire.Identifier) bool { return id != client(1) }
	s.Restrict(next, isClient)
	for id, want := range map[wire.Identifier]int{client(1): 1, client(2): 2, client(3): 1, client(4): 1} {
		if got := s.Names(id); len(got) != want {
			t.Errorf("client %s may open %v", id, got)
		}
	}
	s.Update(next, isClient, []Terms{s.list[0].terms, s.list[1].terms})
	if len(s.restricted) != 2 {
		t.Errorf("afterwards: %v", s.restricted)
	}
	s.Restrict(nil, isClient)
	if got := s.Names(client(4)); len(got) != 2 {
		t.Errorf("without restrictions: %v", got)
	}
}

// recorded is a door that remembers what it was told.
type recorded struct {
	open map[netip.Addr]time.Time
	cut  []netip.Addr
	fail error
	shut bool
}

func (r *recorded) Admit(a netip.Addr, until time.Time) error {
	if r.fail != nil {
		return r.fail
	}
	if r.open == nil {
		r.open = map[netip.Addr]time.Time{}
	}
	r.open[a] = until
	return nil
}

func (r *recorded) Dismiss(gone []netip.Addr, cut bool) {
	for _, a := range gone {
		delete(r.open, a)
		if cut {
			r.cut = append(r.cut, a)
		}
	}
}

func (r *recorded) Close() { r.shut = true }

func serviceOf(name string, g Grain, doors ...Door) *Service {
	return NewService(name, g, Terms{OpenFor: 10 * time.Second, OpenMax: time.Minute, Addresses: 8}, slog.New(slog.DiscardHandler), doors...)
}

func TestClientsOpenWhatTheyMay(t *testing.T) {
	var web, ssh recorded
	restricted := map[wire.Identifier]Rights{client(1): 1 << 1, client(3): 0}
	s, err := NewServices([]*Service{serviceOf("web", 128, &web), serviceOf("ssh", 128, &ssh)}, restricted)
	if err != nil {
		t.Fatal(err)
	}
	one, two, three := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")
	for i, a := range []netip.Addr{one, two, three} {
		if err := s.Open(grant("com"+string(rune('1'+i)), a.String())); err != nil {
			t.Fatal(err)
		}
	}
	has := func(r recorded, a netip.Addr) bool { _, ok := r.open[a]; return ok }
	if has(web, one) || !has(ssh, one) || !has(web, two) || !has(ssh, two) || has(web, three) || has(ssh, three) {
		t.Errorf("web %v, ssh %v", web.open, ssh.open)
	}
	if got := s.Names(client(1)); !slices.Equal(got, []string{"ssh"}) {
		t.Errorf("names %v", got)
	}
	// A right that is withdrawn ends what was opened by it, and its connections.
	s.Update(map[wire.Identifier]Rights{client(2): 1}, func(wire.Identifier) bool { return true }, []Terms{s.list[0].terms, s.list[1].terms})
	if !has(web, two) || has(ssh, two) || !slices.Contains(ssh.cut, two) || !has(ssh, one) {
		t.Errorf("after: web %v, ssh %v, cut %v", web.open, ssh.open, ssh.cut)
	}
	// One that fails keeps no other closed.
	web.fail = errors.New("no")
	if err := s.Open(grant("com4", "192.0.2.4")); !errors.Is(err, web.fail) || !has(ssh, netip.MustParseAddr("192.0.2.4")) {
		t.Errorf("ssh %v: %v", ssh.open, err)
	}
	if _, err := NewServices(make([]*Service, MaxServices+1), nil); err == nil {
		t.Error("more services than rights")
	}
}

func TestDoorsOpenTogether(t *testing.T) {
	first, second := &recorded{}, &recorded{fail: errors.New("no")}
	s := serviceOf("both", 128, first, second)
	if err := s.Open(grant("com1", "192.0.2.1")); !errors.Is(err, second.fail) || len(first.open) != 0 || s.leases.Len() != 0 {
		t.Errorf("half open: %v, %v", first.open, err)
	}
	second.fail = nil
	if err := s.Open(grant("com1", "192.0.2.1")); err != nil || len(first.open) != 1 || len(second.open) != 1 {
		t.Errorf("not open: %v, %v, %v", first.open, second.open, err)
	}
	// What is open stays, if it cannot be made longer.
	second.fail = errors.New("no")
	if err := s.Open(grant("com1", "192.0.2.1")); err == nil || len(first.open) != 1 || len(second.open) != 1 {
		t.Errorf("after a failure: %v, %v, %v", first.open, second.open, err)
	}
}

func TestAddressesByTheirNetwork(t *testing.T) {
	var door recorded
	s := serviceOf("web", 64, &door)
	for _, a := range []string{"2001:db8::1", "2001:db8::ffff", "2001:db8:0:1::1", "192.0.2.1", "fe80::1%2", "fe80::2%2"} {
		if err := s.Open(grant("com1", a)); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range []string{"2001:db8::", "2001:db8:0:1::", "192.0.2.1", "fe80::1%2", "fe80::2%2"} {
		if _, ok := door.open[netip.MustParseAddr(a)]; !ok {
			t.Errorf("%s is not open: %v", a, door.open)
		}
	}
	if len(door.open) != 5 {
		t.Errorf("open: %v", door.open)
	}
}

func TestServiceClosesItsDoors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var door recorded
		s := serviceOf("web", 128, &door)
		done := make(chan error)
		ctx, stop := context.WithCancel(t.Context())
		go func() { done <- s.Run(ctx) }()
		defer func() {
			stop()
			if err := <-done; err != nil || !door.shut {
				t.Errorf("shut %v, %v", door.shut, err)
			}
		}()
		s.Open(grant("com1", "192.0.2.1"))
		time.Sleep(5 * time.Second)
		s.Open(grant("com2", "192.0.2.2"))
		time.Sleep(5 * time.Second)
		synctest.Wait()
		s.mu.Lock()
		if len(door.open) != 1 || len(door.cut) != 0 {
			t.Errorf("open %v, cut %v", door.open, door.cut)
		}
		s.mu.Unlock()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		s.mu.Lock()
		if len(door.open) != 0 || door.shut {
			t.Errorf("open %v, shut %v", door.open, door.shut)
		}
		s.mu.Unlock()
	})
}
