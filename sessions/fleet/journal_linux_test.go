package fleet

import (
	"sync"
	"testing"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/fleet/etcdtest"
	"sallyport/verify"
	"sallyport/verify/verifytest"
)

// TestOneGrant: of two gateways that complete the same attempt, or two that share a nonce,
// at the same time, exactly one grants.
func TestOneGrant(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	f := verifytest.New(t, 3, "com1")
	a, b := start(t, e, patient, "com1"), start(t, e, patient, "com1")
	for i, overlap := range []uint32{0, 0, 1, 2, 0, 1} {
		base := uint32(100 + 10*i)
		var first, second []verify.Knock
		for i := range 3 {
			first = append(first, f.Knock(t, "com1", minute, base, i))
			second = append(second, f.Knock(t, "com1", minute, base+overlap, i))
		}
		var both sync.WaitGroup
		both.Go(func() { a.deliver(first) })
		both.Go(func() { b.deliver(second) })
		both.Wait()
		wait(t, "an end at both", func() bool {
			n := uint64(2 * (i + 1))
			oa, _, _ := a.outcomes()
			ob, _, _ := b.outcomes()
			sa, sb := a.sessions.Stats(), b.sessions.Stats()
			ends := oa + ob + sa[sessions.UsedElsewhere] + sb[sessions.UsedElsewhere]
			return ends == n || oa+ob == n/2 && sa[sessions.Replay]+sb[sessions.Replay] > 0
		})
		if got := a.granted("com1") + b.granted("com1"); got != i+1 {
			t.Fatalf("%d grants after %d pairs of attempts", got, i+1)
		}
	}
	if _, _, failed := a.outcomes(); failed != 0 || a.journal.Stats() != (Stats{}) {
		t.Errorf("%+v", a.journal.Stats())
	}
}

// TestUsedElsewhere: an attempt that one gateway has granted opens nothing at another one,
// whether that has seen the record or not; also after a restart of all.
func TestUsedElsewhere(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	f := verifytest.New(t, 3, "com1", "com2")
	a, b := start(t, e, patient, "com1", "com2"), start(t, e, patient, "com1", "com2")
	a.knock(f, "com1", 10)
	wait(t, "the grant", func() bool { return a.granted("com1") == 1 })
	b.knock(f, "com1", 10)
	wait(t, "the refusal", func() bool { _, used, _ := b.outcomes(); return used > 0 })
	wait(t, "the windows", func() bool { // an attempt of which no knock is accepted
		before := b.sessions.Stats()[sessions.Replay]
		b.knock(f, "com1", 10)
		wait(t, "the knocks", func() bool {
			s := b.sessions.Stats()
			return s[sessions.Replay] == before+3 || s[sessions.UsedElsewhere] > 1
		})
		return b.sessions.Stats()[sessions.Replay] == before+3
	})
	for _, g := range []*gateway{a, b} {
		g.end()
		g.begin(patient, "com1", "com2")
		g.knock(f, "com1", 10)
		g.knock(f, "com2", 10) // one of the two gateways
	}
	wait(t, "an honest attempt", func() bool { return a.granted("com2")+b.granted("com2") > 0 })
	wait(t, "the refusals", func() bool {
		_, one, _ := a.outcomes()
		_, two, _ := b.outcomes()
		return one > 0 && two > 0
	})
	if a.granted("com1")+b.granted("com1") != 1 || a.granted("com2")+b.granted("com2") != 1 {
		t.Errorf("grants at a %v, at b %v", a.grants, b.grants)
	}
}

// TestInterleaved: a client that knocks at two gateways at once has interleaved nonces:
// each complete attempt opens where it is complete, although the other gateway has got
// some of its knocks.
func TestInterleaved(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	f := verifytest.New(t, 3, "com1")
	a, b := start(t, e, patient, "com1"), start(t, e, patient, "com1")
	a.knock(f, "com1", 10, 0)
	b.knock(f, "com1", 13, 0)
	b.knock(f, "com1", 10, 1) // on the wrong way
	a.knock(f, "com1", 13, 2)
	b.knock(f, "com1", 13, 1, 2)
	wait(t, "the later attempt", func() bool { return b.granted("com1") == 1 })
	a.knock(f, "com1", 10, 1, 2)
	wait(t, "the earlier attempt", func() bool { return a.granted("com1") == 1 })
	a.knock(f, "com1", 16)
	wait(t, "the next attempt", func() bool { return a.granted("com1") == 2 })
}

// TestUnavailable: without etcd nothing opens, and the attempt's nonces stay used; when
// etcd is back, the next attempt opens.
func TestUnavailable(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	f := verifytest.New(t, 3, "com1")
	a := start(t, e, 300*time.Millisecond, "com1")
	base := uint32(10)
	// A loaded host may need more than one attempt.
	opens := func(what string) {
		t.Helper()
		before := a.granted("com1")
		wait(t, what, func() bool {
			opened, used, failed := a.outcomes()
			a.knock(f, "com1", base)
			base += 3
			wait(t, "an end", func() bool { o, u, r := a.outcomes(); return o+u+r > opened+used+failed })
			return a.granted("com1") > before
		})
	}
	opens("the first")
	e.Kill()
	before, grants := a.journal.Stats().Unavailable, a.granted("com1")
	a.knock(f, "com1", base)
	wait(t, "the refusal", func() bool { return a.journal.Stats().Unavailable == before+1 })
	e.Restart(t)
	e.Ready(t)
	a.knock(f, "com1", base)
	base += 3
	wait(t, "the refusal of its nonces", func() bool { return a.sessions.Stats()[sessions.Replay] >= 3 })
	opens("after the return")
	if got := a.granted("com1"); got != grants+1 {
		t.Errorf("%d grants, want %d: one from while etcd was away", got, grants+1)
	}
}

// TestRestored: after etcd was restored from a backup, no attempt opens that is stamped up
// to a minute from now, at any gateway, also not after a restart; then later ones open.
func TestRestored(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	f := verifytest.New(t, 3, "com1")
	a, b := start(t, e, patient, "com1"), start(t, e, patient, "com1")
	b.knock(f, "com1", 10)
	wait(t, "the grant", func() bool { return b.granted("com1") == 1 })
	backup := e.Snapshot(t)
	a.knock(f, "com1", 20)
	wait(t, "the grant", func() bool { return a.granted("com1") == 1 })
	wait(t, "the position", func() bool { return b.journal.cluster.Position().Revision >= a.journal.cluster.Position().Revision })
	b.end() // its windows forget
	e.Restore(t, backup, true)
	b.begin(patient, "com1")
	b.knock(f, "com1", 20)
	wait(t, "the refusal", func() bool { _, used, failed := b.outcomes(); return used+failed == 1 })
	a.knock(f, "com1", 30)
	wait(t, "the gap at the other one", func() bool { return a.journal.Stats().Gaps == 1 })
	b.end()
	b.begin(patient, "com1")
	b.knock(f, "com1", 30)
	wait(t, "the refusal after a restart", func() bool { _, _, failed := b.outcomes(); return failed == 1 })
	later := minute + 2
	for i := range 3 {
		b.sessions.Deliver(f.Knock(t, "com1", later, 40, i), alice)
	}
	wait(t, "a later attempt", func() bool { return b.granted("com1") == 2 })
}
