package gate

import (
	"errors"
	"log/slog"
	"maps"
	"testing"
	"time"

	"sallyport/sessions/clock/clocktest"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// TestReapply: an enforcer that has begun again gets the leases in force for the time that
// they have left, and no other one; the other enforcers get nothing.
func TestReapply(t *testing.T) {
	host := clocktest.NewHost()
	listener, lost := &recorded{}, &recorded{}
	service := func(name string, anyone bool, enforcers ...access.Enforcer) *Service {
		return NewService(ServiceConfig{
			Name: name, PrefixLen6: 128, Policy: LeasePolicy{OpenFor: time.Hour, OpenMax: time.Hour, Addresses: 8, Anyone: anyone, Cut: true},
			Enforcers: enforcers, Clock: host.Clock(), Log: slog.New(slog.DiscardHandler),
		})
	}
	ssh, web, other := service("ssh", false, listener, lost), service("web", true, lost), service("other", false, listener)
	s, err := NewServices([]*Service{ssh, web, other}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := s.Reapply(lost); n != 0 || lost.calls != 0 {
		t.Errorf("without a lease: %d leases, %d calls", n, lost.calls)
	}
	open := func(service *Service, client, address string) {
		t.Helper()
		if err := service.Open(grant(client, address)); err != nil {
			t.Fatal(err)
		}
	}
	open(ssh, "com1", "192.0.2.1")
	host.Pass(time.Minute)
	open(ssh, "com2", "192.0.2.2")
	open(web, "com1", "192.0.2.1")
	open(other, "com1", "192.0.2.3")
	want := maps.Clone(lost.open)
	s.Revoke(func(id wire.Identifier) bool { return id == grant("com2", "192.0.2.2").Identifier }, Revoked)
	delete(want, peer("192.0.2.2"))
	host.Pass(time.Minute)
	before := listener.calls
	lost.open, lost.cut = nil, nil
	if n := s.Reapply(lost); n != 2 || !maps.Equal(lost.open, want) {
		t.Errorf("%d leases, %v, expected %v", n, lost.open, want)
	}
	if listener.calls != before || len(lost.cut) != 0 {
		t.Errorf("%d calls of another enforcer; cut %v", listener.calls-before, lost.cut)
	}
	// Leases whose time was over in between do not open again.
	host.Pass(time.Hour - 2*time.Minute)
	lost.open = nil
	if n := s.Reapply(lost); n != 1 || lost.has("192.0.2.1") || len(lost.open) != 2 {
		t.Errorf("after the end of the first: %d leases, %v", n, lost.open)
	}
	lost.open, lost.fail = nil, errors.New("lost again")
	if n := s.Reapply(lost); n != 0 || len(lost.open) != 0 {
		t.Errorf("by an enforcer that fails: %d leases", n)
	}
}
