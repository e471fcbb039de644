package fleetlist

import (
	"context"
	"sync"
	"time"

	"sallyport/sessions/fleet/roster"
)

// writePause is the time before a copy that could not be written is written again.
const writePause = 5 * time.Second

// Follow calls apply for each list that the server must have from now on, until ctx or the
// connection ends, as roster.Follow does. It does not call it for the list that is in force.
// If apply fails, Follow calls it again after a pause. While apply runs, Follow calls newer
// with each newer list, which differs from the one before apply in these clients.
func (l *List) Follow(ctx context.Context, apply func(context.Context, Change) error, newer func(ctx context.Context, version uint64, clients []roster.Change)) error {
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { l.retry(ctx) })
	return l.roster.Follow(ctx, func(mark roster.Mark, all bool, changes []roster.Change) error {
		c := Change{Version: mark.Version, Whole: all, Clients: changes, mark: mark, copy: l.copy, log: l.log}
		if all {
			t, err := whole(mark, changes)
			if err == nil && l.copy.holds(t, l.log) {
				return nil
			}
			c.built, c.err = &t, err
		}
		l.copy.begin()
		return apply(ctx, c)
	}, func(mark roster.Mark, changes []roster.Change) { newer(ctx, mark.Version, changes) })
}

// retry writes the copy again after failures, until ctx ends.
func (l *List) retry(ctx context.Context) {
	tick := time.NewTicker(writePause)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.copy.retry(l.log)
		case <-ctx.Done():
			return
		}
	}
}
