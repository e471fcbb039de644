package relay

import (
	"cmp"
	"slices"
)

// share is what of the flows is one address's.
type share struct {
	flows []*flow // that are not over
	// running is the goroutines of flows, over or not: what ends takes a moment,
	// and may not be outrun by what begins.
	running int
}

// verdict is what becomes of a datagram without a flow.
type verdict uint8

const (
	refuse  verdict = iota
	begin           // a new flow
	replace         // a new flow, in place of one of the same address
)

// admit decides on a new flow, from how many there are of its address and in
// all. Nobody makes room by another address's flow. By its own it does: a
// client that goes through many ports, as some NAT do, needs the new one more
// than the one that was silent for longest.
func (c UDPConfig) admit(own, running, all int) verdict {
	switch {
	case running >= 2*c.PerAddress:
		return refuse
	case own > 0 && (own >= c.PerAddress || all >= c.MaxFlows):
		return replace
	case all >= c.MaxFlows:
		return refuse
	}
	return begin
}

// flow returns the flow of a datagram, which begins with it if it may; nil: it
// may not.
func (u *UDP) flow(s *socket, k key) *flow {
	u.mu.Lock()
	defer u.mu.Unlock()
	if f := u.flows[k]; f != nil {
		f.touch()
		return f
	}
	a := k.client.Addr()
	if u.closed || !u.cfg.Allows(a) {
		return nil
	}
	of := cmp.Or(u.shares[a], new(share))
	switch u.cfg.admit(len(of.flows), of.running, len(u.flows)) {
	case refuse:
		return nil
	case replace:
		u.end(slices.MinFunc(of.flows, func(a, b *flow) int { return cmp.Compare(a.last.Load(), b.last.Load()) }))
	}
	f := newFlow(u, s, k)
	u.flows[k] = f
	u.shares[a] = of
	of.flows = append(of.flows, f)
	of.running++
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
	of := u.shares[f.client.Addr()]
	of.flows = slices.DeleteFunc(of.flows, func(other *flow) bool { return other == f })
	f.stop()
}

// finished is for a flow whose goroutine ends.
func (u *UDP) finished(f *flow) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.end(f)
	a := f.client.Addr()
	if of := u.shares[a]; of.running > 1 {
		of.running--
	} else {
		delete(u.shares, a)
	}
	u.ended.Done()
}
