package daemon

import (
	"testing"

	"sallyport/bench/netns"
	"sallyport/sessions/fleet/etcdtest"
)

// TestExchangesWhileEtcdIsSlow: while etcd does not answer, an operation without a limit opens;
// one with a limit opens when etcd answers, and a client that has started over meanwhile has
// used it once.
func TestExchangesWhileEtcdIsSlow(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	way := etcdtest.Start(t, etcdtest.Options{}).Gateway(t)
	w := newRelayWorldAt(t, "endpoints = [\""+way.Endpoints()[0]+"\"]\ntimeout = \"10s\"")
	at := w.gateways[w.coordinator()]
	waits := func() bool {
		c := &at.server.challenge.counting
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.of) == 1
	}
	left := func() int { return at.server.usesLeft()[0].Left }
	way.Each(func(p *etcdtest.Path) { p.Hold(true, true) })
	for range 2 {
		w.exchange(w.config("limited-one"))
		at.await("a use that waits", waits)
	}
	w.exchange(w.config("nat-aware"))
	at.await("the operation without a limit", func() bool { return len(at.server.gate.Leases()) == 1 })
	if l := at.server.gate.Leases(); l[0].Operation != "nat-aware" || !waits() || left() != 2 {
		t.Errorf("%+v, %d uses left", l, left())
	}
	if n := at.server.challenge.proofs.counts.superseded.Load(); n != 1 {
		t.Errorf("%d responses took the place of an earlier one", n)
	}
	way.Each((*etcdtest.Path).Heal)
	at.await("the operation with a limit", func() bool {
		l := at.server.gate.Leases()
		return len(l) == 1 && l[0].Operation == "limited-one"
	})
	at.await("the end of the count", func() bool { return !waits() })
	at.hasLines("operation=limited-one", 1)
	if left() != 1 {
		t.Errorf("%d uses left", left())
	}
}
