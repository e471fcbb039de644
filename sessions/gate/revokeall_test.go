package gate

import (
	"log/slog"
	"testing"
	"time"

	"sallyport/sessions/clock/clocktest"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// TestEndAll: the enforcer is lost. Leases end as if their time had ended: a
// client that is revoked later is still cut, and new leases begin.
func TestEndAll(t *testing.T) {
	wall := &fakeFirewall{in: map[access.Peer]bool{}}
	service := func(name string, anyone bool) *Service {
		return NewService(ServiceConfig{
			Name: name, PrefixLen6: 128, Policy: LeasePolicy{OpenFor: time.Hour, OpenMax: time.Hour, Addresses: 8, Anyone: anyone},
			Enforcers: []access.Enforcer{wall}, Clock: clocktest.NewHost().Clock(), Log: slog.New(slog.DiscardHandler),
		})
	}
	one, all := service("ssh", false), service("web", true)
	s, err := NewServices([]*Service{one, all}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.EndAll() // of nothing
	for range 2 {
		for _, service := range s.list {
			for _, a := range []string{"192.0.2.1", "192.0.2.2"} {
				if err := service.Open(grant("com1", a)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if !wall.has("192.0.2.1") || !wall.in[access.Anyone4] {
			t.Fatalf("not open: %v", wall.in)
		}
		s.EndAll()
		if len(wall.in) != 0 || one.leases.Len() != 0 || all.leases.Len() != 0 {
			t.Errorf("still open: %v", wall.in)
		}
	}
	if past, _ := one.leases.RevokeExcept(func(wire.Identifier) bool { return false }); len(past) != 2 {
		t.Errorf("whose connections a revocation cuts: %v", past)
	}
}
