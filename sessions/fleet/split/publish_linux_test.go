package split

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sallyport/sessions"
	"sallyport/sessions/fleet/cluster"
	"sallyport/sessions/fleet/etcdtest"
	"sallyport/verify"
	"sallyport/verify/schedule"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

// TestGateways: whatever the order in which three gateways publish their parts of many
// attempts, also at once, each attempt completes, and one whose third knock is missing does
// not. A value of half a megabyte of one client, which no gateway writes, delays no other.
func TestGateways(t *testing.T) {
	e := etcdtest.Start(t, etcdtest.Options{})
	const clients = 40
	var ids []string
	for i := range clients {
		ids = append(ids, fmt.Sprintf("c%03d", i))
	}
	secrets := verifytest.Clients(ids...)
	p := Policy{Secrets: verifytest.Table(t, secrets...), Ports: 3, Tolerance: time.Minute}
	now := minute.Start()
	names := []string{"one", "two", "three"}
	var mu sync.Mutex
	completed := map[wire.Identifier]sessions.Completed{}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	var gateways []*Split
	var verifiers []*verify.Verifier
	keys := make([][]verify.Key, len(names))
	for i, name := range names {
		c, err := cluster.Open(cluster.Config{Endpoints: e.Gateway(t).Endpoints(), Timeout: 10 * time.Second, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		s, err := New(Config{
			Gateway: name, Gateways: names, Cluster: c, Policy: func() Policy { return p },
			Wall: func() time.Time { return now }, Now: time.Now, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		gateways = append(gateways, s)
		if keys[i], err = verify.KeysOfGateway(secrets, name); err != nil {
			t.Fatal(err)
		}
		verifiers = append(verifiers, verify.New(verify.Rules{Table: verifytest.Table(t, keys[i]...), Ports: 3, Tolerance: time.Minute}))
		running.Go(func() {
			s.Run(ctx, func(x sessions.Completed) {
				mu.Lock()
				defer mu.Unlock()
				completed[x.Knock.Identifier()] = x
			})
		})
	}
	huge := gateways[0].cfg.Cluster
	put := clientv3.OpPut(huge.Key("slots/c001"), strings.Repeat("x", 512<<10))
	if _, err := huge.Txn(t.Context(), nil, []clientv3.Op{put}, nil); err != nil {
		t.Fatal(err)
	}
	stamp := uint32(now.Unix())
	for i := range clients {
		for j := range names {
			gateway := (i + j) % len(names)
			if i == 0 && gateway == 2 {
				continue
			}
			k := wire.Knock{Sequence: int8(gateway), Maximum: 2, Identifier: verifytest.ID(ids[i]), Timestamp: stamp, Nonce: 10 + uint32(gateway)}
			at := schedule.Place{Minute: minute, Index: int8(gateway)}
			got, reason := verifiers[gateway].Verify(verifytest.SignUnder(t, k, keys[gateway][i].Secret), []schedule.Place{at}, now.Unix())
			if reason != verify.Authentic {
				t.Fatal(reason)
			}
			gateways[gateway].Knock(got, alice, sessions.Recorded)
		}
	}
	count := func(o Outcome) (n uint64) {
		for _, s := range gateways {
			n += s.Stats()[o]
		}
		return n
	}
	end := time.Now().Add(time.Minute)
	for done := false; !done; time.Sleep(time.Millisecond) {
		if done = count(Completed)+count(Published) == 3*clients-1; time.Now().After(end) {
			t.Fatalf("%v, %v, %v", gateways[0].Stats(), gateways[1].Stats(), gateways[2].Stats())
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for i, id := range ids {
		x, ok := completed[verifytest.ID(id)]
		if ok != (i > 0) {
			t.Errorf("client %s: completed %t", id, ok)
		}
		want := sessions.Attempt{Secret: verifytest.Fingerprint(verifytest.ID(id)), Base: 10, Timestamp: stamp, Count: 3}
		if ok && (x.Address != alice || x.Differ != 0 || x.Attempt != want || x.ISN == 0) {
			t.Errorf("client %s: %+v", id, x)
		}
	}
	if n := count(Completed); n != clients-1 {
		t.Errorf("%d attempts have completed", n)
	}
	if count(Malformed) == 0 {
		t.Error("a value in no known format was accepted")
	}
}
