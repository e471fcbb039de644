package sessions

import (
	"testing"
	"time"

	"sallyport/verify/verifytest"
)

// TestLatency: a grant is in the class of the time that the journal and the gate took.
func TestLatency(t *testing.T) {
	f := verifytest.New(t, 1, "com1")
	cfg := Config{
		Clients: []Client{{Identifier: verifytest.ID("com1")}},
		Gate:    gateFunc(func(Grant) error { time.Sleep(7 * time.Millisecond); return nil }),
	}
	var s *Sessions
	run(t, cfg, func(running *Sessions) {
		s = running
		s.Deliver(f.Knock(t, "com1", minute, 0, 0), alice)
	})
	var want Latency
	want.Counts[3], want.Sum = 1, 7*time.Millisecond // above 5 ms, and at most 10 ms
	if got := s.Latency(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	var l latency
	for _, took := range []time.Duration{-time.Second, 0, time.Millisecond, time.Millisecond + 1, 10 * time.Second, 11 * time.Second} {
		l.add(took)
	}
	if l.counts[0].Load() != 3 || l.counts[1].Load() != 1 || l.counts[len(LatencyBounds)-1].Load() != 1 || l.counts[len(LatencyBounds)].Load() != 1 {
		t.Errorf("got %v", &l.counts)
	}
}

// TestDepths: knocks and grants are counted until they are taken.
func TestDepths(t *testing.T) {
	f := verifytest.New(t, 2, "com1", "com2")
	sh := newTestShard(gateFunc(func(Grant) error { return nil }))
	sh.replace(withSecrets([]Client{{Identifier: verifytest.ID("com1")}, {Identifier: verifytest.ID("com2")}}))
	s := &Sessions{shards: []*shard{sh}}
	sh.deliver(arrival{f.Knock(t, "com1", minute, 0, 0), alice})
	if knocks, grants := s.Depths(); knocks != (Depth{1, queueSize}) || grants != (Depth{}) {
		t.Errorf("got %+v, %+v", knocks, grants)
	}
	sh.handle(<-sh.queue)
	for _, id := range []string{"com1", "com2"} {
		sh.handle(arrival{f.Knock(t, id, minute, 0, 0), alice})
		sh.handle(arrival{f.Knock(t, id, minute, 0, 1), alice})
	}
	if knocks, grants := s.Depths(); knocks.Waiting != 0 || grants.Waiting != 2 {
		t.Errorf("got %+v, %+v", knocks, grants)
	}
	sh.grants.take()
	if _, grants := s.Depths(); grants.Waiting != 0 {
		t.Errorf("got %+v", grants)
	}
}
