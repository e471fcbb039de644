package relay

import (
	"cmp"
	"slices"
)

// share is what of the flows is one address's.
type share struct {
	flows   []*flow // that are not over
	running int     // goroutines of flows, over or not
}

// usage is how many flows there are. Those that end take a moment for it, and
// may not be outrun by those that begin: they count as running.
type usage struct {
	own, ownRunning int // of the address that asks
	all, allRunning int
}

// verdict is what becomes of a datagram without a flow.
type verdict uint8

const (
	refuse  verdict = iota
	begin           // a new flow
	replace         // a new flow, in place of one of the same address
)

// admit decides on a new flow. Nobody makes room by another address's flow. By
// its own it does: a client that goes through many ports, as some NAT do, needs
// the new one more than the one that was silent for longest.
func (c UDPConfig) admit(n usage) verdict {
	full := n.all >= c.MaxFlows
	switch {
	case n.ownRunning >= 2*c.PerAddress || n.allRunning >= 2*c.MaxFlows:
		return refuse
	case n.own > 0 && (full || n.own >= c.PerAddress):
		return replace
	case full:
		return refuse
	}
	return begin
}

// flow returns the flow of a datagram, which begins with it if it may; nil: it
// may not.
func (u *UDP) flow(k key) *flow {
	u.mu.Lock()
	defer u.mu.Unlock()
	if f := u.flows[k]; f != nil {
		f.touch()
		return f
	}
	if u.closed || !u.allows(k.socket, k.client.Addr()) {
		return nil
	}
	a := u.cfg.Share(k.client.Addr())
	of := cmp.Or(u.shares[a], new(share))
	switch u.cfg.admit(usage{len(of.flows), of.running, len(u.flows), u.running}) {
	case refuse:
		return nil
	case replace:
		u.end(slices.MinFunc(of.flows, func(a, b *flow) int { return cmp.Compare(a.last.Load(), b.last.Load()) }))
	}
	f := newFlow(u, k)
	if u.cfg.Owners != nil && k.socket.one == nil {
		f.owned = u.cfg.Owners(k.client.Addr())
	}
	u.flows[k] = f
	k.socket.begins()
	u.shares[a] = of
	of.flows = append(of.flows, f)
	of.running++
	u.running++
	u.ended.Add(1)
	go f.run(*u.upstream.Load())
	return f
}

// end has a flow end. The caller holds the lock.
func (u *UDP) end(f *flow) {
	if u.flows[f.key] != f {
		return
	}
	delete(u.flows, f.key)
	of := u.shares[u.cfg.Share(f.client.Addr())]
	of.flows = slices.DeleteFunc(of.flows, func(other *flow) bool { return other == f })
	f.stop()
	f.socket.ends()
}

// finished is for a flow whose goroutine ends.
func (u *UDP) finished(f *flow) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.end(f)
	u.running--
	a := u.cfg.Share(f.client.Addr())
	if of := u.shares[a]; of.running > 1 {
		of.running--
	} else {
		delete(u.shares, a)
	}
	u.ended.Done()
}
