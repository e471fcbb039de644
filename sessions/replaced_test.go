package sessions

import (
	"context"
	"testing"
	"testing/synctest"

	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

// TestIdentifierOfAnother: of a client that is replaced by another one with its
// identifier, nothing counts any more: neither a knock that an earlier key table
// has authenticated and that still waits, nor half an attempt. Whoever stays
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
		if err := s.change(context.Background(), []Client{{Identifier: id("same"), Table: next, Readded: true}, {Identifier: id("stay"), Table: next}}); err != nil {
			t.Error(err)
		}
		for _, c := range []string{"same", "stay"} {
			s.Deliver(before.Knock(t, c, minute, 10, 1), alice)
		}
		synctest.Wait()
		s.Deliver(after.Knock(t, "same", minute, 10, 1), alice) // half an attempt
		synctest.Wait()
	})
	if want := (Grant{id("stay"), alice}); len(grants) != 1 || grants[0] != want {
		t.Errorf("grants %v", grants)
	}
	if want := ([Outcomes]uint64{Recorded: 3, Opened: 1, Unknown: 1}); stats != want {
		t.Errorf("outcomes %v, want %v", stats, want)
	}
}

// TestRevokedAndAdded: what a client knocked before it was revoked does not count
// for the one that has its identifier afterwards.
func TestRevokedAndAdded(t *testing.T) {
	before, after := verifytest.New(t, 1, "com1"), verifytest.New(t, 1, "com1")
	id := verifytest.ID("com1")
	grants, stats := run(t, Config{Clients: []Client{{Identifier: id}}}, func(s *Sessions) {
		if err := s.Remove(context.Background(), func(other wire.Identifier) bool { return other == id }); err != nil {
			t.Error(err)
		}
		s.Deliver(before.Knock(t, "com1", minute, 1, 0), alice)
		synctest.Wait()
		if err := s.change(context.Background(), []Client{{Identifier: id, Table: after.Knock(t, "com1", minute, 1, 0).Table()}}); err != nil {
			t.Error(err)
		}
		s.Deliver(before.Knock(t, "com1", minute, 2, 0), alice)
		s.Deliver(after.Knock(t, "com1", minute, 3, 0), bob)
		synctest.Wait()
	})
	if want := (Grant{id, bob}); len(grants) != 1 || grants[0] != want {
		t.Errorf("grants %v", grants)
	}
	if want := ([Outcomes]uint64{Opened: 1, Unknown: 2}); stats != want {
		t.Errorf("outcomes %v, want %v", stats, want)
	}
}
