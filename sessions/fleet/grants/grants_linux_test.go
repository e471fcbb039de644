package grants

import (
	"slices"
	"testing"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/fleet/etcdtest"
	"sallyport/verify/verifytest"
)

// TestGrantsForAll: a grant at one gateway opens at the other, once, for what is left of
// it; its revocation and a closing attempt close there.
func TestGrantsForAll(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	one, other := start(t, e, "one"), start(t, e, "other")
	a := one.knock(t, "com1", 7, 0)
	other.expect(t, "a grant", "com1")
	got := other.opened[0]
	from := time.Unix(int64(a.Timestamp), 0).Add(tolerance)
	if got.Address != alice || !got.From.Equal(from) || time.Until(got.Until) > openFor || got.ISN == 0 {
		t.Errorf("opens %+v, want from %s", got, from)
	}

	one.knock(t, "none", 7, 0)                                                             // not shared
	one.grants.Open([]sessions.Grant{{Identifier: verifytest.ID("com2"), Address: alice}}) // of an exchange
	mixed := attempt("com2", 7, 0)
	mixed.Mixed = true
	one.grants.Open([]sessions.Grant{{Identifier: verifytest.ID("com2"), Address: alice, Attempt: mixed}})
	one.knock(t, "com3", 7, 0)
	other.expect(t, "grants for one gateway only", "com1", "com3")
	if n := one.has(Mixed); n != 1 {
		t.Errorf("%d attempts with several timestamps, want 1", n)
	}

	one.grants.Withdraw(verifytest.ID("com1"), verifytest.ID("com2"))
	wait(t, "a revocation", func() bool { return other.has(Revoked) > 0 }, other)
	if revoked, _ := other.closes(); !slices.Equal(revoked, []string{"com1"}) {
		t.Errorf("revoked %v", revoked)
	}

	closing := attempt("com3", 20, 0)
	one.record(t, "com3", closing)
	one.grants.Closed([]sessions.Closing{{Identifier: verifytest.ID("com3"), Address: alice, Attempt: closing}})
	wait(t, "a closing attempt", func() bool { return other.has(Closed) > 0 }, other)
	if _, closed := other.closes(); !slices.Equal(closed, []string{"com3"}) {
		t.Errorf("closed %v", closed)
	}
	one.knock(t, "com3", 30, 0)
	other.expect(t, "a grant after a closing attempt", "com1", "com3", "com3")
	if n := len(one.opens()); n > 0 {
		t.Errorf("the gateway carried out its own grants: %v", one.opens())
	}
}

// TestCutOff: a gateway that was cut off opens by the grants that are still in force, and
// ends leases whose grants were revoked, or whose clients have closed, meanwhile.
func TestCutOff(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	one, other := start(t, e, "one"), start(t, e, "other")
	other.knock(t, "com2", 1, 0)
	wait(t, "the first grant", func() bool { return one.has(Opened) == 1 }, one, other)
	one.knock(t, "com1", 7, 0)
	one.knock(t, "com2", 7, 0)
	wait(t, "two grants", func() bool { return other.has(Opened) == 2 }, one, other)
	other.way.Each((*etcdtest.Path).Cut)

	one.grants.Withdraw(verifytest.ID("com1"))
	closing := attempt("com2", 20, 0)
	one.record(t, "com2", closing)
	one.grants.Closed([]sessions.Closing{{Identifier: verifytest.ID("com2"), Address: alice, Attempt: closing}})
	one.knock(t, "com3", 7, -tolerance-openFor) // by a clock that was slow; ended for others
	one.knock(t, "com4", 7, 0)
	wait(t, "all is sent", func() bool { return one.has(Sent) == 5 }, one)
	e.Compact(t) // so that only a snapshot has it
	other.way.Each((*etcdtest.Path).Heal)
	wait(t, "the gateway catches up", func() bool { return other.has(Opened) == 3 && other.has(Closed) == 1 && other.has(Ended) == 1 }, other)
	if opened := other.opens(); !slices.Contains(opened, "com4") || slices.Contains(opened, "com3") {
		t.Errorf("opened for %v", opened)
	}
	revoked, closed := other.closes()
	slices.Sort(revoked)
	if !slices.Contains(revoked, "com1") || slices.Contains(revoked, "com4") || !slices.Equal(closed, []string{"com2"}) {
		t.Errorf("revoked %v, closed %v", revoked, closed)
	}

	third := start(t, e, "third") // the closing attempt comes first, although its key is newer
	wait(t, "a gateway that starts", func() bool {
		return third.has(Opened)+third.has(Superseded) == 2 && third.has(Closed) == 1 && third.has(Ended) == 1
	}, third)
	third.expect(t, "a gateway that starts", "com4")
}

// TestRestartedGateway: a gateway that starts again opens the grants of others for the time
// that they have left, and not those that it made itself: see "After a restart" in FLEET.md.
func TestRestartedGateway(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	one, other := start(t, e, "one"), start(t, e, "other")
	one.knock(t, "com1", 7, 0)
	wait(t, "the grant", func() bool { return other.has(Opened) == 1 }, one, other)
	again, own := start(t, e, "other"), start(t, e, "one")
	wait(t, "the grant of the other gateway", func() bool { return again.has(Opened) == 1 }, again)
	other.knock(t, "com2", 7, 0)
	wait(t, "a grant after the snapshot", func() bool { return own.has(Opened) == 1 }, own)
	opened := own.opens()
	if !slices.Equal(opened, []string{"com2"}) || !slices.Equal(again.opens(), []string{"com1"}) {
		t.Errorf("the gateway that granted com1 opened for %v, the other one for %v", opened, again.opens())
	}
}

// TestClocks: gateways whose clocks differ by the tolerance open for each other, not
// longer than a gateway with a right clock.
func TestClocks(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	one, slow, fast := start(t, e, "one"), start(t, e, "slow"), start(t, e, "fast")
	slow.ahead.Store(int64(-tolerance))
	fast.ahead.Store(int64(tolerance))
	one.knock(t, "com1", 7, tolerance) // a client whose clock is ahead
	one.knock(t, "com2", 7, -tolerance)
	for _, g := range []*gateway{slow, fast} {
		wait(t, "grants at another clock", func() bool { return g.has(Opened)+g.has(Ended) == 2 }, g)
		if n := len(g.opens()); n != 2 {
			t.Errorf("%s: %d grants, want 2: %v", g.name, n, g.grants.Stats())
		}
	}
	one.knock(t, "com3", 7, tolerance+2*time.Second)
	wait(t, "a timestamp too far ahead", func() bool { return slow.has(Future) == 1 && fast.has(Opened) == 3 }, slow, fast)
}

// TestRecordDoesNotAnswer: a grant waits until the record answers.
func TestRecordDoesNotAnswer(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	one, other := start(t, e, "one"), start(t, e, "other")
	other.mute.Store(true)
	one.knock(t, "com1", 7, 0)
	wait(t, "a grant that waits", func() bool {
		other.grants.work.Lock()
		defer other.grants.work.Unlock()
		return len(other.grants.waiting.values) == 1
	}, other)
	if n := len(other.opens()); n > 0 {
		t.Fatal("a grant opened without its record")
	}
	other.mute.Store(false)
	other.expect(t, "the record answers", "com1")
}
