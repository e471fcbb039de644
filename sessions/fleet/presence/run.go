package presence

import (
	"context"
	"errors"
	"sync"
	"time"
)

// compareEvery is how often a gateway compares itself with the others.
const compareEvery = time.Second

// Run writes the key, and logs what differs, until ctx ends.
func (p *Presence) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { p.cfg.Cluster.Follow(ctx, keys, p.view) })
	defer wg.Wait()
	beat, compare := time.NewTicker(p.cfg.Beat), time.NewTicker(min(p.cfg.Beat, compareEvery))
	defer beat.Stop()
	defer compare.Stop()
	r := reporter{log: p.cfg.Log, known: map[string]*gateway{}, settle: p.cfg.Settle}
	p.beat(ctx)
	for {
		select {
		case <-beat.C:
			p.beat(ctx)
		case <-compare.C:
			if others, current := p.view.list(); current {
				p.mu.Lock()
				own := p.describe()
				p.mu.Unlock()
				r.report(p.cfg.Name, own, others, p.cfg.Wall())
			}
		case <-ctx.Done():
			return
		}
	}
}

func (p *Presence) beat(ctx context.Context) {
	if err := p.write(ctx); ctx.Err() == nil {
		p.logUsed(err)
	}
}

// logUsed logs when another gateway has taken the name, and when it is free again.
func (p *Presence) logUsed(err error) {
	used, ok := errors.AsType[*NameUsedError](err)
	switch {
	case ok && !p.used:
		p.cfg.Log.Error("another gateway uses the name of this one", "gateway", p.cfg.Name, "error", err, "hint", used.Hint())
		p.used = true
	case err == nil && p.used:
		p.cfg.Log.Info("the name of this gateway is free again", "gateway", p.cfg.Name)
		p.used = false
	}
}
