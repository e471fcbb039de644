package gate

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/sessions"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// TestBatchIsOneApply: a batch is one Apply of each enforcer, whichever
// services share it, including displaced leases.
func TestBatchIsOneApply(t *testing.T) {
	var web, ssh, wall recorded
	services := []*Service{serviceOf("web", 128, &web, &wall), serviceOf("ssh", 128, &ssh, &wall), serviceOf("vpn", 128, &wall)}
	s, err := NewServices(services, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, service := range services {
		service.update(t, LeasePolicy{OpenFor: time.Minute, OpenMax: time.Hour, Addresses: 2, Cut: true}, anyClient)
	}
	s.openOne(grant("com1", "192.0.2.1"))
	s.openOne(grant("com1", "192.0.2.2"))
	web.calls, ssh.calls, wall.calls = 0, 0, 0
	var batch []sessions.Grant
	for i := range 64 {
		batch = append(batch, sessions.Grant{Identifier: wire.Identifier{'b', byte(i)}, Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + i)})})
	}
	batch = append(batch, grant("com1", "192.0.2.3"))
	if errs := s.Open(batch); errs != nil {
		t.Fatal(errs)
	}
	if web.calls != 1 || ssh.calls != 1 || wall.calls != 1 {
		t.Errorf("calls: web %d, ssh %d, wall %d", web.calls, ssh.calls, wall.calls)
	}
	// The first address of the first client was displaced in the same call.
	for name, r := range map[string]*recorded{"web": &web, "ssh": &ssh, "wall": &wall} {
		if r.has("192.0.2.1") || !r.has("192.0.2.2") || !r.has("192.0.2.100") || !slices.Contains(r.cut, peer("192.0.2.1")) {
			t.Errorf("%s: open %v, cut %v", name, r.open, r.cut)
		}
	}
}

// TestOnlyDisplacedEndsSoon: all other revocations take effect immediately.
func TestOnlyDisplacedEndsSoon(t *testing.T) {
	var wall recorded
	one := serviceOf("web", 128, &wall)
	s, err := NewServices([]*Service{one}, nil)
	if err != nil {
		t.Fatal(err)
	}
	one.update(t, LeasePolicy{OpenFor: time.Minute, OpenMax: time.Hour, Addresses: 1}, anyClient)
	for i := range 4 {
		s.openOne(grant("com1", fmt.Sprintf("192.0.2.%d", i)))
	}
	if err := s.Execute(Command{Service: one.ID(), Grant: grant("com1", "192.0.2.3"), Action: Close}); err != nil {
		t.Fatal(err)
	}
	s.openOne(grant("com1", "192.0.2.4"))
	one.revokeExcept(func(wire.Identifier) bool { return false }, false, Update{}.why)
	want := []access.Peer{peer("192.0.2.0"), peer("192.0.2.1"), peer("192.0.2.2")}
	if !slices.Equal(wall.soon, want) || len(wall.open) != 0 {
		t.Errorf("soon %v, want %v; open %v", wall.soon, want, wall.open)
	}
}

// TestBatchWithGrantsOfOneClient: each grant counts as if it came alone.
func TestBatchWithGrantsOfOneClient(t *testing.T) {
	var enforcer recorded
	one := serviceOf("web", 128, &enforcer)
	s, err := NewServices([]*Service{one}, nil)
	if err != nil {
		t.Fatal(err)
	}
	one.update(t, LeasePolicy{OpenFor: 10 * time.Second, OpenMax: time.Minute, Addresses: 2}, anyClient)
	before := system.Boot()
	errs := s.Open([]sessions.Grant{grant("com1", "192.0.2.1"), grant("com1", "192.0.2.1"), grant("com1", "192.0.2.2"), grant("com1", "192.0.2.3")})
	if errs != nil {
		t.Fatal(errs)
	}
	// 192.0.2.2 would have ended first when 192.0.2.3 came.
	if !enforcer.has("192.0.2.1") || enforcer.has("192.0.2.2") || !enforcer.has("192.0.2.3") || one.leases.Len() != 2 {
		t.Errorf("open %v", enforcer.open)
	}
	left := enforcer.open[peer("192.0.2.1")].Sub(before)
	if left < 20*time.Second || left > 21*time.Second+time.Since(before) {
		t.Errorf("two grants last %s", left)
	}
}

// TestFailureIsIndependent: a grant whose address cannot be admitted opens
// nothing, and the lease that it displaced is restored; all others are open.
func TestFailureIsIndependent(t *testing.T) {
	var web, wall recorded
	both := serviceOf("web", 128, &web, &wall)
	s, err := NewServices([]*Service{both, serviceOf("ssh", 128)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	both.update(t, LeasePolicy{OpenFor: time.Minute, OpenMax: time.Hour, Addresses: 1, Cut: true}, anyClient)
	s.openOne(grant("com1", "192.0.2.1"))
	was := web.open[peer("192.0.2.1")]
	wall.fail, wall.fails = errors.New("no room"), func(p access.Peer) bool { return p == peer("192.0.2.7") }
	errs := s.Open([]sessions.Grant{grant("com2", "192.0.2.2"), grant("com1", "192.0.2.7"), grant("com3", "192.0.2.3")})
	if len(errs) != 3 || errs[0] != nil || !errors.Is(errs[1], wall.fail) || errs[2] != nil {
		t.Fatalf("errors %v", errs)
	}
	for name, r := range map[string]*recorded{"web": &web, "wall": &wall} {
		if len(r.open) != 3 || !r.has("192.0.2.2") || !r.has("192.0.2.3") || !r.open[peer("192.0.2.1")].Equal(was) {
			t.Errorf("%s: open %v", name, r.open)
		}
	}
	if both.leases.Len() != 3 || !both.leases.Latest(peer("192.0.2.1")).Equal(was) {
		t.Errorf("leases of %v", both.leases.Peers())
	}
}

// discarding accepts all changes.
type discarding struct{}

func (*discarding) Apply([]access.Change) []error { return nil }

func (*discarding) Close() error { return nil }

// TestEnforcersMatchLeases: whatever the batches of grants, and whichever
// changes fail, no enforcer admits a peer without a lease.
func TestEnforcersMatchLeases(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		anyone := rapid.Bool().Draw(t, "anyone")
		now := epoch
		stopped := func() time.Time { return now }
		own, shared := make([]*recorded, 2), &discarding{}
		var list []*Service
		for i := range own {
			own[i] = &recorded{}
			s := serviceOf(fmt.Sprint(i), 128, own[i], shared)
			s.clock.Boot = stopped
			s.terms = LeasePolicy{OpenFor: 10 * time.Second, OpenMax: 30 * time.Second, Addresses: 2, Anyone: anyone}
			s.leases.SetTerms(10*time.Second, 30*time.Second, 2)
			s.setAudience()
			list = append(list, s)
		}
		gate, err := NewServices(list, nil)
		if err != nil {
			t.Fatal(err)
		}
		refused, wasBroken := errors.New("no"), map[access.Peer]bool{}
		for range rapid.IntRange(1, 10).Draw(t, "batches") {
			broken := peer(fmt.Sprintf("192.0.2.%d", rapid.IntRange(0, 5).Draw(t, "broken")))
			wasBroken[broken] = true
			for _, r := range own {
				r.fail, r.fails = refused, func(p access.Peer) bool { return p == broken }
			}
			var batch []sessions.Grant
			for range rapid.IntRange(1, 6).Draw(t, "grants") {
				batch = append(batch, grant(fmt.Sprintf("com%d", rapid.IntRange(1, 3).Draw(t, "client")), fmt.Sprintf("192.0.2.%d", rapid.IntRange(1, 5).Draw(t, "address"))))
			}
			errs := gate.Open(batch)
			for i, g := range batch {
				if errs != nil && errs[i] != nil && (anyone || access.PeerOf(g.Address, 128) != broken) {
					t.Fatalf("%s: %v", g.Address, errs[i])
				}
			}
			now = now.Add(time.Duration(rapid.IntRange(0, 15).Draw(t, "pass")) * time.Second)
			for i, s := range list {
				s.sweep()
				want := map[access.Peer]time.Time{}
				for _, p := range s.leases.Peers() {
					for _, in := range s.admits(p) {
						want[in] = s.until(in)
					}
				}
				for p, until := range own[i].open {
					if w, ok := want[p]; !ok || !w.Equal(until) {
						t.Fatalf("service %d lets in %s until %v, and has %v", i, p, until, w)
					}
				}
				for p := range want {
					// A lease that cannot be shortened is closed.
					if _, ok := own[i].open[p]; !ok && !wasBroken[p] {
						t.Fatalf("service %d lets in %v, want %v", i, own[i].open, want)
					}
				}
			}
		}
		for i, s := range list {
			s.commit(s.terms, func(wire.Identifier) bool { return false }, Update{}.why)
			if len(own[i].open) != 0 || s.leases.Len() != 0 {
				t.Fatalf("service %d: left %v", i, own[i].open)
			}
		}
	})
}
