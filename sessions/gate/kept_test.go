package gate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// keeper is a service with leases without an end, and their record, as the server
// keeps it.
type keeper struct {
	*Service
	all      *Services
	enforcer *recorded
	record   map[ended]bool
	now      time.Time
}

// newKeeper returns a closed service whose clock is k.now.
func newKeeper(openMax time.Duration, addresses int, anyone bool) *keeper {
	k := &keeper{enforcer: &recorded{}, record: map[ended]bool{}, now: epoch}
	k.start(openMax, addresses, anyone)
	return k
}

// start starts the service: closed, as after a restart.
func (k *keeper) start(openMax time.Duration, addresses int, anyone bool) {
	k.enforcer.open = nil
	now := func() time.Time { return k.now }
	k.Service = NewService(ServiceConfig{
		Name: "web", PrefixLen6: 128, Policy: LeasePolicy{OpenFor: min(10*time.Second, openMax), OpenMax: openMax, Addresses: addresses, Anyone: anyone},
		Enforcers: []access.Enforcer{k.enforcer}, Clock: clock.Clock{Wall: now, Monotonic: now, Boot: now}, Log: slog.New(slog.DiscardHandler),
		KeptEnded: func(id wire.Identifier, p access.Peer) { delete(k.record, ended{client: id, peer: p, kept: true}) },
	})
	k.all, _ = NewServices([]*Service{k.Service}, nil)
}

func (k *keeper) hold(id, address string) error {
	key := ended{client: wire.Identifier([]byte(id)), peer: peer(address), kept: true}
	before := k.record[key]
	k.record[key] = true
	err := k.all.Execute(Command{Service: k.ID(), Grant: grant(id, address), UntilClosed: true, Operation: "hold"})
	if err != nil && !before {
		delete(k.record, key)
	}
	return err
}

// reopen opens the recorded leases again.
func (k *keeper) reopen() {
	for le := range maps.Clone(k.record) {
		k.hold(string(le.client[:]), addressOf(le.peer))
	}
}

func (k *keeper) closes(id, address string) {
	k.all.Execute(Command{Service: k.ID(), Grant: grant(id, address), Action: Close})
}

// pass lets time pass, in which Run checks as it does.
func (k *keeper) pass(d time.Duration) {
	for end := k.now.Add(d); ; {
		pause, ok := k.sweep()
		if !ok || k.now.Add(pause).After(end) {
			k.now = end
			return
		}
		k.now = k.now.Add(pause)
	}
}

// open reports whether the enforcer admits an address now.
func (k *keeper) open(address string) bool {
	p := peer(address)
	if k.terms.Anyone {
		p = access.Anyone4
	}
	return k.now.Before(k.enforcer.open[p])
}

// TestKeptLease: it lasts longer than every maximum, a later grant of knocks does not
// shorten it, no change has an end beyond the horizon, and a close ends it.
func TestKeptLease(t *testing.T) {
	for _, openMax := range []time.Duration{time.Second, time.Minute, time.Hour} {
		for _, anyone := range []bool{false, true} {
			k := newKeeper(openMax, 8, anyone)
			if err := k.hold("com1", "192.0.2.1"); err != nil {
				t.Fatal(err)
			}
			for i := range 300 {
				k.pass(time.Duration(i) * 50 * time.Millisecond)
				if i%50 == 49 {
					k.all.openOne(grant("com1", "192.0.2.1"))
				}
				left := k.enforcer.open[k.admits(peer("192.0.2.1"))[0]].Sub(k.now)
				if left <= 0 || left > min(openMax, MaxHorizon) {
					t.Fatalf("open_max %s, anyone %v, step %d: open for %s", openMax, anyone, i, left)
				}
			}
			list := k.all.Leases()
			if len(list) != 1 || !list[0].Kept || list[0].Operation != "hold" || !list[0].Since.Equal(epoch) {
				t.Errorf("listed: %+v", list)
			}
			k.closes("com2", "192.0.2.1")
			k.closes("com1", "192.0.2.2")
			if !k.open("192.0.2.1") || len(k.record) != 1 {
				t.Error("closed by another client, or for another address")
			}
			k.closes("com1", "192.0.2.1")
			if k.open("192.0.2.1") || len(k.record) != 0 || len(k.enforcer.open) != 0 {
				t.Errorf("after the close: %v, %v", k.enforcer.open, k.record)
			}
		}
	}
}

// TestRenewalFails: while no enforcer renews a lease, it ends at the horizon. It stays
// in the record, and opens again.
func TestRenewalFails(t *testing.T) {
	k := newKeeper(time.Minute, 8, false)
	k.hold("com1", "192.0.2.1")
	k.pass(20 * time.Second)
	k.enforcer.fail = errors.New("no")
	k.pass(39 * time.Second)
	if !k.open("192.0.2.1") {
		t.Error("closed before the horizon")
	}
	k.pass(2 * time.Second)
	if k.open("192.0.2.1") || len(k.enforcer.open) != 0 || k.leases.Len() != 0 || len(k.record) != 1 {
		t.Errorf("after the horizon: %v, record %v", k.enforcer.open, k.record)
	}
	k.reopen()
	if k.open("192.0.2.1") || len(k.record) != 1 {
		t.Errorf("opened without an enforcer: %v", k.record)
	}
	k.enforcer.fail = nil
	k.reopen()
	k.pass(time.Hour)
	if !k.open("192.0.2.1") {
		t.Error("not open again")
	}
	// A failure that ends in time is not seen.
	k.enforcer.fail = errors.New("no")
	k.pass(25 * time.Second)
	k.enforcer.fail = nil
	for range 100 {
		k.pass(time.Second)
		if !k.open("192.0.2.1") {
			t.Fatal("closed by a short failure")
		}
	}
	// The holder is lost: all is closed, and the record stays.
	k.all.EndAll()
	if len(k.enforcer.open) != 0 || len(k.record) != 1 {
		t.Errorf("without a holder: %v, %v", k.enforcer.open, k.record)
	}
}

// TestRevokedKept: each way in which a client loses its right ends the record too.
func TestRevokedKept(t *testing.T) {
	is := func(id string) func(wire.Identifier) bool {
		return func(other wire.Identifier) bool { return other == wire.Identifier([]byte(id)) }
	}
	for name, revoke := range map[string]func(k *keeper){
		"revoked":   func(k *keeper) { k.all.Revoke(is("com1"), Revoked) },
		"displaced": func(k *keeper) { k.all.Displace(k.ID(), wire.Identifier([]byte("com1")), peer("192.0.2.1")) },
		"narrowed": func(k *keeper) {
			cut, err := k.all.Narrow(restrict(map[wire.Identifier][]string{client(1): {}}))
			if err != nil {
				t.Fatal(err)
			}
			cut(func(wire.Identifier) bool { return false }, Revoked)
		},
		"not a client": func(k *keeper) { k.all.update(t, nil, is("com2"), nil) },
		"administrator": func(k *keeper) {
			gone := k.all.EndLeases(func(l Lease) bool { return l.Client == client(1) }, true, ByAdministrator)
			if len(gone) != 1 || !gone[0].Kept {
				t.Errorf("ended: %+v", gone)
			}
		},
		"another address": func(k *keeper) {
			k.commit(LeasePolicy{OpenFor: time.Second, OpenMax: time.Minute, Addresses: 1}, anyClient, Update{}.why)
			k.all.openOne(grant("com1", "192.0.2.9"))
		},
	} {
		k := newKeeper(time.Minute, 8, false)
		k.hold("com1", "192.0.2.1")
		k.hold("com2", "192.0.2.2")
		revoke(k)
		if k.open("192.0.2.1") || !k.open("192.0.2.2") || len(k.record) != 1 {
			t.Errorf("%s: open %v, record %v", name, k.enforcer.open, k.record)
		}
		k.pass(time.Hour)
		if k.open("192.0.2.1") || !k.open("192.0.2.2") {
			t.Errorf("%s, later: open %v", name, k.enforcer.open)
		}
	}
	// A service that stops ends no record.
	k := newKeeper(time.Minute, 8, false)
	k.hold("com1", "192.0.2.1")
	k.close()
	if len(k.record) != 1 || len(k.all.Leases()) != 0 {
		t.Errorf("stopped: %v", k.record)
	}
}

// TestKeptCommands: only the service's own port, without a time, can stay open.
func TestKeptCommands(t *testing.T) {
	k := newKeeper(time.Minute, 8, false)
	for _, c := range []Command{{Action: Close}, {For: time.Second}, {Port: 1}} {
		c.Service, c.Grant, c.UntilClosed = k.ID(), grant("com1", "192.0.2.1"), true
		if err := k.all.Execute(c); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
}

// TestRunRenews: Run renews by its timer, also leases that began before it, and after
// the host was suspended.
func TestRunRenews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var enforcer recorded
		s := serviceOf("web", 128, &enforcer)
		all, _ := NewServices([]*Service{s}, nil)
		hold := Command{Service: s.ID(), Grant: grant("com1", "192.0.2.1"), UntilClosed: true}
		if err := all.Execute(hold); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		for range 20 {
			time.Sleep(17 * time.Second)
			synctest.Wait()
			s.mu.Lock()
			left := time.Until(enforcer.open[peer("192.0.2.1")])
			s.mu.Unlock()
			if left < 28*time.Second || left > time.Minute {
				t.Fatalf("open for %s", left)
			}
		}
		stop()
		<-done
		if !enforcer.closed {
			t.Error("not closed")
		}
	})
}

// TestKeptLeasesAgainstModel: whatever happens, the enforcer admits exactly the peers
// with a lease, never for longer than OpenMax from the last check; the record has
// exactly the leases that were not ended; and a restart opens those and no others.
func TestKeptLeasesAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		openMax := time.Duration(rapid.SampledFrom([]int{1, 30, 600}).Draw(t, "max")) * time.Second
		anyone := rapid.Bool().Draw(t, "anyone")
		const addresses = 2
		k := newKeeper(openMax, addresses, anyone)
		type key struct{ client, address string }
		held := map[key]bool{}
		timed := map[key]time.Time{}
		draw := func() key {
			return key{fmt.Sprintf("com%d", rapid.IntRange(1, 2).Draw(t, "client")), fmt.Sprintf("192.0.2.%d", rapid.IntRange(1, 4).Draw(t, "address"))}
		}
		begin := func(g key) { // ends what the lease displaces
			for _, p := range k.leases.Displaced(wire.Identifier([]byte(g.client)), peer(g.address)) {
				delete(held, key{g.client, addressOf(p)})
				delete(timed, key{g.client, addressOf(p)})
			}
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			g := draw()
			switch rapid.IntRange(0, 8).Draw(t, "step") {
			case 0, 1:
				failing := rapid.IntRange(0, 3).Draw(t, "fails") == 0 && !anyone
				k.enforcer.fails = func(p access.Peer) bool { return p == peer(g.address) }
				if k.enforcer.fail = nil; failing {
					k.enforcer.fail = errors.New("no")
				} else {
					begin(g)
				}
				if err := k.hold(g.client, g.address); (err != nil) != failing {
					t.Fatalf("hold: %v", err)
				}
				k.enforcer.fail = nil
				if !failing {
					held[g] = true
				}
			case 2:
				begin(g)
				until, _ := k.leases.Until(wire.Identifier([]byte(g.client)), peer(g.address), k.now, 0)
				if err := k.all.openOne(grant(g.client, g.address)); err != nil {
					t.Fatal(err)
				}
				timed[g] = until
			case 3:
				k.closes(g.client, g.address)
				delete(held, g)
				delete(timed, g)
			case 4:
				k.all.Revoke(func(id wire.Identifier) bool { return id == wire.Identifier([]byte(g.client)) }, Revoked)
				maps.DeleteFunc(held, func(other key, _ bool) bool { return other.client == g.client })
				maps.DeleteFunc(timed, func(other key, _ time.Time) bool { return other.client == g.client })
			case 5:
				k.all.EndAll()
				clear(timed)
				if len(k.enforcer.open) != 0 {
					t.Fatalf("open without a holder: %v", k.enforcer.open)
				}
				k.reopen()
			case 6: // a crash: what the kernel still has ends by itself
				for p, until := range k.enforcer.open {
					if until.After(k.now.Add(openMax)) {
						t.Fatalf("%s is open for %s without a process", p, until.Sub(k.now))
					}
				}
				k.start(openMax, addresses, anyone)
				clear(timed)
				k.reopen()
			default:
				k.pass(time.Duration(rapid.IntRange(0, 100).Draw(t, "pass")) * time.Second)
			}
			k.sweep()
			if len(k.record) != len(held) {
				t.Fatalf("recorded %v, held %v", k.record, held)
			}
			admitted, some := map[string]bool{}, false
			for g := range held {
				admitted[g.address], some = true, true
				if !k.record[ended{client: wire.Identifier([]byte(g.client)), peer: peer(g.address), kept: true}] {
					t.Fatalf("%v is not recorded", g)
				}
			}
			for g, until := range timed {
				if k.now.Before(until) {
					admitted[g.address], some = true, true
				}
			}
			for i := range 4 {
				address := fmt.Sprintf("192.0.2.%d", i+1)
				if want := admitted[address] || anyone && some; k.open(address) != want {
					t.Fatalf("%s is open: %v; held %v, timed %v", address, !want, held, timed)
				}
			}
		}
	})
}
