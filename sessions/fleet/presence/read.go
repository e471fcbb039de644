package presence

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"sallyport/sessions/fleet/cluster"
)

// Read returns what all gateways run. It waits for a write of each, to measure the clocks,
// at most for the time of wait after the first answer of etcd; its error is that etcd
// gave none until ctx ended. names are as Config.Gateways. It writes nothing.
func Read(ctx context.Context, cfg cluster.Config, wall func() time.Time, wait time.Duration, names []string) ([]Seen, error) {
	cfg.Log, cfg.Gap = slog.New(slog.DiscardHandler), nil
	conn, err := cluster.Open(cfg)
	if err != nil {
		return nil, err
	}
	v := newView(wall, names)
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { conn.Follow(ctx, keys, v) })
	defer func() {
		cancel()
		conn.Close()
		wg.Wait()
	}()
	var over <-chan time.Time
	for {
		all, current := v.list()
		if current && over == nil {
			over = time.After(wait)
		}
		if current && measured(all) {
			return all, nil
		}
		select {
		case <-v.changed:
		case <-over:
			return all, nil
		case <-ctx.Done():
			return all, context.Cause(ctx)
		}
	}
}

func measured(all []Seen) bool {
	for _, s := range all {
		if s.Err == nil && !s.Measured {
			return false
		}
	}
	return true
}
