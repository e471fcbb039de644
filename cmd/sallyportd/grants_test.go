package main

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"sallyport/sessions"
	"sallyport/verify/wire"
)

type gateFunc func(sessions.Grant) error

func (f gateFunc) Open(grants []sessions.Grant) []error {
	errs := make([]error, len(grants))
	for i, g := range grants {
		errs[i] = f(g)
	}
	return errs
}

func TestWatchersDelayNobody(t *testing.T) {
	refusal := errors.New("the gate is shut")
	shut := false
	w := watch(gateFunc(func(sessions.Grant) error {
		if shut {
			return refusal
		}
		return nil
	}), func(wire.Identifier) []string { return []string{"web"} })
	grant := sessions.Grant{Identifier: wire.Identifier([]byte("com1")), Address: netip.MustParseAddr("198.51.100.1")}
	grants, cancel, err := w.subscribe()
	if err != nil {
		t.Fatal(err)
	}
	for range watchQueue + 3 { // nobody reads
		if err := errors.Join(w.Open([]sessions.Grant{grant})...); err != nil {
			t.Fatal(err)
		}
	}
	for range watchQueue {
		if o := <-grants; o.Client != "com1" || o.Address != grant.Address || !slices.Equal(o.Services, []string{"web"}) || o.Missed != 0 || o.Time.IsZero() {
			t.Fatalf("%+v", o)
		}
	}
	w.Open([]sessions.Grant{grant})
	if o := <-grants; o.Missed != 3 {
		t.Errorf("%d missed, want 3", o.Missed)
	}
	shut = true
	if err := errors.Join(w.Open([]sessions.Grant{grant})...); !errors.Is(err, refusal) {
		t.Errorf("got %v", err)
	}
	if len(grants) > 0 {
		t.Error("told of a grant that was refused")
	}
	for range maxWatchers - 1 {
		if _, _, err := w.subscribe(); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := w.subscribe(); err == nil {
		t.Error("any number may watch")
	}
	cancel()
	if _, _, err := w.subscribe(); err != nil {
		t.Error(err)
	}
}
