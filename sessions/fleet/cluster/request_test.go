package cluster

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestCallerGivesUp: a caller that ends its request, as at a stop, makes no line in the log,
// and the next request goes to the same member.
func TestCallerGivesUp(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	c := &Cluster{
		timeout: time.Minute, log: slog.New(slog.NewTextHandler(&log, nil)), now: time.Now, ctx: t.Context(),
		members: []*member{{endpoint: "https://etcd1.example:2379"}, {endpoint: "https://etcd2.example:2379"}},
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Get(ctx, "key"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if log.Len() > 0 || c.preferred.Load() != 0 || !c.Health().Since.IsZero() {
		t.Errorf("member %d, health %+v, log: %s", c.preferred.Load(), c.Health(), &log)
	}
}

// TestLearner: a member that does not vote yet refuses requests; the next member gets them,
// and the later ones at once.
func TestLearner(t *testing.T) {
	t.Parallel()
	for name, refusal := range map[string]error{
		"this release": status.Error(codes.FailedPrecondition, "etcdserver: rpc not supported for learner"),
		"etcd 3.4":     status.Error(codes.Unavailable, "etcdserver: rpc not supported for learner"),
	} {
		first, second := &clientv3.Client{}, &clientv3.Client{}
		c := &Cluster{
			timeout: time.Minute, log: slog.New(slog.DiscardHandler), now: time.Now, ctx: t.Context(),
			members: []*member{{endpoint: "https://etcd1.example:2379", client: first}, {endpoint: "https://etcd2.example:2379", client: second}},
		}
		asked := map[*clientv3.Client]int{}
		for range 3 {
			err := c.do(t.Context(), func(_ context.Context, client *clientv3.Client) (Position, error) {
				if asked[client]++; client == first {
					return Position{}, refusal
				}
				return Position{}, nil
			})
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if asked[first] != 1 || asked[second] != 3 {
			t.Errorf("%s: asked %d and %d times, want 1 and 3", name, asked[first], asked[second])
		}
	}
}
