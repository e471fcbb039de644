package split

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/fleet/cluster"
	"sallyport/verify"
	"sallyport/verify/schedule"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

// TestUnavailable: without etcd, a part is counted, and completes nothing.
func TestUnavailable(t *testing.T) {
	t.Parallel()
	c, err := cluster.Open(cluster.Config{Endpoints: []string{"http://127.0.0.1:1"}, Timeout: 100 * time.Millisecond, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	now := minute.Start()
	p := Policy{Secrets: verifytest.Table(t, verifytest.Clients("com1")...), Ports: 3, Tolerance: time.Minute}
	s, err := New(Config{
		Gateway: "one", Gateways: []string{"one", "two"}, Cluster: c, Policy: func() Policy { return p },
		Wall: func() time.Time { return now }, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx, func(x sessions.Completed) { t.Errorf("completed %+v", x) }) }()
	s.Knock(knockAt(t, "one", 10), alice, sessions.Recorded)
	s.Knock(knockAt(t, "two", 20), alice, sessions.Recorded) // of a secret that has ended: none makes this key here
	end := time.Now().Add(time.Minute)
	for counted := false; !counted; time.Sleep(time.Millisecond) {
		n := s.Stats()
		if counted = n[Unavailable] == 1 && n[Ended] == 1; time.Now().After(end) {
			t.Fatalf("counts %v", s.Stats())
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// knockAt returns the first knock of an attempt of com1, signed for a gateway.
func knockAt(t *testing.T, gateway string, base uint32) verify.Knock {
	t.Helper()
	keys, err := verify.KeysOfGateway(verifytest.Clients("com1"), gateway)
	if err != nil {
		t.Fatal(err)
	}
	at := schedule.Place{Minute: minute}
	v := verify.New(verify.Rules{Table: verifytest.Table(t, keys...), Ports: 3, Tolerance: time.Minute})
	stamp := minute.Start().Unix()
	datagram := verifytest.SignUnder(t, wire.Knock{Maximum: 2, Identifier: verifytest.ID("com1"), Timestamp: uint32(stamp), Nonce: base}, keys[0].Secret)
	k, reason := v.Verify(datagram, []schedule.Place{at}, stamp)
	if reason != verify.Authentic {
		t.Fatal(reason)
	}
	return k
}
