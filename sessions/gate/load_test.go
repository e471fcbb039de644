package gate

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"sallyport/sessions/clock/clocktest"
)

// TestLoads: the load of a service follows its leases, and each reason of an end has a
// place.
func TestLoads(t *testing.T) {
	if n := len(new(serviceCounts).ended); len(endReasons) > n || len(endReasons) != len(reasonCodes) {
		t.Fatalf("%d of %d reasons, with room for %d", len(endReasons), len(reasonCodes), n)
	}
	s := NewService(ServiceConfig{
		Name: "web", PrefixLen6: 64, Clock: clocktest.NewHost().Clock(), Log: slog.New(slog.DiscardHandler),
		Policy: LeasePolicy{OpenFor: time.Minute, OpenMax: time.Minute, Addresses: 2},
	})
	all, err := NewServices([]*Service{s}, nil)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(leases int, granted, byAdministrator, displaced uint64) {
		t.Helper()
		l := all.Loads()[0]
		ended := map[string]uint64{}
		for _, e := range l.Ended {
			if e.Count > 0 {
				ended[e.Reason] = e.Count
			}
		}
		if l.Service != "web" || l.Leases != leases || l.Granted != granted || ended["administrator"] != byAdministrator || ended["displaced"] != displaced {
			t.Errorf("got %+v", l)
		}
	}
	expect(0, 0, 0, 0)
	s.Open(grant("com1", "192.0.2.1"))
	s.Open(grant("com1", "192.0.2.1"))
	s.Open(grant("com2", "192.0.2.1"))
	expect(2, 3, 0, 0)
	s.Open(grant("com1", "192.0.2.2"))
	s.Open(grant("com1", "192.0.2.3"))
	expect(3, 5, 0, 1)
	all.EndLeases(func(Lease) bool { return true }, false, ByAdministrator)
	expect(0, 5, 3, 1)

	s.watchObstacle(portUnbound)(errors.New("taken"))
	s.watchObstacle(portUnbound)(errors.New("taken"))
	if l := all.Loads()[0]; l.Unbound != 2 || l.Waits != "taken" || l.Waits != all.Waiting()["web"] {
		t.Errorf("unbound: %+v", l)
	}
	s.watchObstacle(portUnbound)(nil)
	if l := all.Loads()[0]; l.Unbound != 2 || l.Waits != "" {
		t.Errorf("bound: %+v", l)
	}
}
