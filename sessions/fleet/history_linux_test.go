package fleet

import (
	"errors"
	"testing"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/fleet/cluster"
	"sallyport/sessions/fleet/etcdtest"
	"sallyport/verify/wire"
)

// TestRules: the rules of the model, and a hostile gateway, on one etcd; each has another
// client.
func TestRules(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	for name, test := range map[string]func(*testing.T, *etcdtest.Cluster){
		"OtherHistory": testOtherHistory, "ViewIsCompared": testViewIsCompared,
		"GapWhileRecording": testGapWhileRecording, "Contended": testContended,
	} {
		t.Run(name, func(t *testing.T) { test(t, e) })
	}
}

// testOtherHistory: a gateway that knows a key at some revision writes nothing over other
// nonces that the key has at the same revision, as after a backup was restored. (The model's
// rule is that the content is compared.)
func testOtherHistory(t *testing.T, e *etcdtest.Cluster) {
	a, b := openJournal(t, e.Gateway(t), t.TempDir(), patient), openJournal(t, e.Gateway(t), t.TempDir(), patient)
	t.Cleanup(func() { a.Close(); b.Close() })
	id := wire.Identifier([]byte("com1"))
	attempt := func(base uint32) []sessions.Entry {
		return []sessions.Entry{{Identifier: id, Secret: 7, Base: base, Count: 3}}
	}
	if errs := b.Record(attempt(10)); errs != nil {
		t.Fatal(errs)
	}
	if errs := b.Record(attempt(20)); errs != nil {
		t.Fatal(errs)
	}
	// What a knows is of another history: only the first attempt, with the same revision.
	var other value
	other.tag = 1
	a.view.set(id, known{other.with(&attempt(10)[0]), b.view.get(id).revision})
	if errs := a.Record(attempt(20)); errs == nil || !errors.Is(errs[0], sessions.ErrUsed) {
		t.Errorf("nonces that the other gateway has used: %v", errs)
	}
}

// testViewIsCompared (the model's VIEW_UNCHECKED): nonces that the view shows are refused
// before the first write, which would succeed: the view has the revision of the key.
func testViewIsCompared(t *testing.T, e *etcdtest.Cluster) {
	a := openJournal(t, e.Gateway(t), t.TempDir(), patient)
	t.Cleanup(func() { a.Close() })
	list := []sessions.Entry{{Identifier: wire.Identifier([]byte("com2")), Secret: 7, Base: 10, Count: 3}}
	if errs := a.Record(list); errs != nil {
		t.Fatal(errs)
	}
	if errs := a.Record(list); errs == nil || !errors.Is(errs[0], sessions.ErrUsed) {
		t.Errorf("got %v", errs)
	}
}

// testGapWhileRecording (GAP_AT_WINDOW_ONLY, CLUSTER_OF_ANSWER): attempts that wait for
// etcd when another history is found, by themselves or by the watch, are refused; the limit
// is on disk together with the position (GAP_NOT_DURABLE).
func testGapWhileRecording(t *testing.T, e *etcdtest.Cluster) {
	way, dir := e.Gateway(t), t.TempDir()
	a := openJournal(t, way, dir, patient)
	t.Cleanup(func() { a.Close() })
	id := wire.Identifier([]byte("com3"))
	early := sessions.Entry{Identifier: id, Secret: 7, Base: 10, Count: 3, Stamp: uint32(wall().Add(59 * time.Second).Unix())}
	late := early
	late.Base, late.Stamp = 20, uint32(wall().Add(61*time.Second).Unix())
	if errs := a.Record([]sessions.Entry{{Identifier: id, Secret: 7, Base: 1, Count: 1}}); errs != nil {
		t.Fatal(errs)
	}
	way.To(0).Hold(false, true)
	result := make(chan []error)
	go func() { result <- a.Record([]sessions.Entry{early, late}) }()
	wait(t, "the record", func() bool {
		r, err := e.Root().Get(t.Context(), a.key(id))
		return err == nil && len(r.Kvs) == 1 && r.Kvs[0].Version == 2
	})
	before := a.cluster.Position()
	now := cluster.Position{Cluster: before.Cluster + 1, Revision: before.Revision}
	a.gap("found by the watch", now)
	if p, err := readPosition(dir); err != nil || p.known != now || p.lostUntil != wall().Unix()+60 {
		t.Errorf("on disk: %+v, %v", p, err)
	}
	way.To(0).Heal()
	errs := <-result
	if len(errs) != 2 || !errors.Is(errs[0], errGap) || errs[1] != nil {
		t.Errorf("the waiting attempts: %v", errs)
	}
	early.Identifier, early.Stamp = wire.Identifier([]byte("com4")), early.Stamp+1
	if errs := a.Record([]sessions.Entry{early}); errs == nil || !errors.Is(errs[0], errGap) {
		t.Errorf("queued before the gap: %v", errs)
	}
}
