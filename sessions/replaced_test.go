package sessions

import (
	"context"
	"testing"
	"testing/synctest"

	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

// TestIdentifierOfAnother: when a new client gets the identifier of a removed
// one, the knocks of the removed one no longer count: neither a queued knock that
// an earlier key table authenticated, nor half an attempt. A client that stays
// loses nothing.
func TestIdentifierOfAnother(t *testing.T) {
	before, after := verifytest.New(t, 2, "same", "stay"), verifytest.New(t, 2, "same", "stay")
	id := verifytest.ID
	old := before.Knock(t, "same", minute, 1, 0).Table()
	list := []Client{{Identifier: id("same"), Table: old}, {Identifier: id("stay"), Table: old}}
	grants, stats := run(t, Config{Clients: list, Shards: 2}, func(s *Sessions) {
		for _, c := range []string{"same", "stay"} {
			s.Deliver(before.Knock(t, c, minute, 10, 0), alice)
		}
		synctest.Wait()
		next := after.Knock(t, "same", minute, 1, 0).Table()
		list := []Client{{Identifier: id("same"), Table: next, Readded: true}, {Identifier: id("stay"), Table: next}}
		if err := s.change(context.Background(), list); err != nil {
			t.Error(err)
		}
		for _, c := range []string{"same", "stay"} {
			s.Deliver(before.Knock(t, c, minute, 10, 1), alice)
		}
		synctest.Wait()
		s.Deliver(after.Knock(t, "same", minute, 10, 1), alice) // half an attempt
		synctest.Wait()
	})
	if want := (Grant{Identifier: id("stay"), Address: alice, Minute: minute}); len(grants) != 1 || grants[0] != want {
		t.Errorf("grants %v", grants)
	}
	if want := ([NumOutcomes]uint64{Recorded: 3, Opened: 1, Unknown: 1}); stats != want {
		t.Errorf("outcomes %v, want %v", stats, want)
	}
}

// TestRevokedAndAdded: the knocks that a client sent before it was revoked do not
// count for a new client with the same identifier.
func TestRevokedAndAdded(t *testing.T) {
	before, after := verifytest.New(t, 1, "com1"), verifytest.New(t, 1, "com1")
	id := verifytest.ID("com1")
	grants, stats := run(t, Config{Clients: []Client{{Identifier: id}}}, func(s *Sessions) {
		if err := s.Remove(context.Background(), func(other wire.Identifier) bool { return other == id }); err != nil {
			t.Error(err)
		}
		s.Deliver(before.Knock(t, "com1", minute, 1, 0), alice)
		synctest.Wait()
		list := []Client{{Identifier: id, Table: after.Knock(t, "com1", minute, 1, 0).Table()}}
		if err := s.change(context.Background(), list); err != nil {
			t.Error(err)
		}
		s.Deliver(before.Knock(t, "com1", minute, 2, 0), alice)
		s.Deliver(after.Knock(t, "com1", minute, 3, 0), bob)
		synctest.Wait()
	})
	if want := (Grant{Identifier: id, Address: bob, Minute: minute}); len(grants) != 1 || grants[0] != want {
		t.Errorf("grants %v", grants)
	}
	if want := ([NumOutcomes]uint64{Opened: 1, Unknown: 2}); stats != want {
		t.Errorf("outcomes %v, want %v", stats, want)
	}
}
