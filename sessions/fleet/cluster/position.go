package cluster

import (
	"fmt"
	"sync"
)

// Position is how far a gateway has seen the history of an etcd cluster.
type Position struct {
	Cluster  uint64 // the ID that etcd gave to the cluster
	Revision int64
}

// Gap is a part of the history that a cluster has acknowledged, and no longer has: it
// was restored from a backup, or replaced by another one.
type Gap struct{ Before, Now Position }

func (g Gap) String() string {
	if g.Before.Cluster != g.Now.Cluster {
		return fmt.Sprintf("etcd has the cluster ID %x, it had %x", g.Now.Cluster, g.Before.Cluster)
	}
	return fmt.Sprintf("etcd is at revision %d, it was at %d", g.Now.Revision, g.Before.Revision)
}

// positions compares the position of each linearizable answer with the one that was
// known when its request was sent: etcd guarantees that the answer is not older.
type positions struct {
	report func(Gap)

	mu    sync.Mutex
	known mark
	// changed is closed, and replaced, at each gap.
	changed chan struct{}
}

// mark is what is known when a request is sent.
type mark struct {
	Position
	gaps uint64 // how many have been reported
}

func (p *positions) init(known Position, report func(Gap)) {
	p.known.Position, p.report, p.changed = known, report, make(chan struct{})
}

func (p *positions) get() mark {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known
}

// observe takes the position of a linearizable answer. It returns after a gap has been
// reported, and meanwhile no other request begins: so no answer of the new history is used
// before the report. Answers of concurrent requests arrive in any order: they are compared
// with the mark of their request, and show the same gap once.
func (p *positions) observe(now Position, before mark) {
	p.mu.Lock()
	defer p.mu.Unlock()
	follows := before.Cluster == 0 || now.Cluster == before.Cluster && now.Revision >= before.Revision
	if p.known.Cluster == 0 || now.Cluster == p.known.Cluster && (follows || before.gaps < p.known.gaps) {
		p.known.Cluster, p.known.Revision = now.Cluster, max(p.known.Revision, now.Revision)
		return
	}
	g := Gap{p.known.Position, now}
	p.known = mark{now, p.known.gaps + 1}
	close(p.changed)
	p.changed = make(chan struct{})
	if p.report != nil {
		p.report(g)
	}
}

// watch returns a channel that the next gap closes.
func (p *positions) watch() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

// Position returns the highest known position.
func (c *Cluster) Position() Position { return c.positions.get().Position }

// Gaps returns how many gaps have been seen.
func (c *Cluster) Gaps() uint64 { return c.positions.get().gaps }
