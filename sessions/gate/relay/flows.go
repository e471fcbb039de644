package relay

import (
	"cmp"
	"slices"
)

// addressFlows are the flows of one address.
type addressFlows struct {
	flows   []*flow // that have not ended
	running int     // goroutines of flows, including ended ones
}

// usage counts flows. An ended flow needs a moment to stop: it still counts as
// running, so that new flows cannot exhaust resources faster than old ones
// release them.
type usage struct {
	own, ownRunning int // of the address of the datagram
	all, allRunning int
}

// verdict is the decision on a datagram without a flow.
type verdict uint8

const (
	refuse  verdict = iota
	begin           // a new flow
	replace         // a new flow, in place of one of the same address
)

// decide decides on a new flow. A flow never displaces that of another address.
// It may displace one of the same address: a client that uses many ports, as
// with some NATs, needs the new flow more than the one that was silent for
// longest.
func (c UDPConfig) decide(n usage) verdict {
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

// flowOf returns the flow of a datagram, and begins one if it may; nil: it may
// not.
func (u *UDP) flowOf(k key) *flow {
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
	flows := cmp.Or(u.byAddress[a], new(addressFlows))
	used := usage{len(flows.flows), flows.running, len(u.flows), u.running}
	if u.cfg.Shared != nil {
		used = u.cfg.Shared.usage(a)
	}
	switch u.cfg.decide(used) {
	case refuse:
		return nil
	case replace:
		if len(flows.flows) == 0 {
			return nil // all flows of the address are of other relays
		}
		byLast := func(a, b *flow) int { return cmp.Compare(a.last.Load(), b.last.Load()) }
		u.endFlow(slices.MinFunc(flows.flows, byLast))
	}
	f := newFlow(u, k)
	if u.cfg.Owners != nil && k.socket.single == nil {
		f.owners = u.cfg.Owners(k.client.Addr())
	}
	u.flows[k] = f
	u.count.Add(1)
	k.socket.begins()
	u.byAddress[a] = flows
	flows.flows = append(flows.flows, f)
	flows.running++
	u.running++
	u.cfg.Shared.add(a, 1, 1)
	u.goroutines.Add(1)
	go f.run(u.upstream.Load())
	return f
}

// endFlow ends a flow. The caller holds the lock.
func (u *UDP) endFlow(f *flow) {
	if u.flows[f.key] != f {
		return
	}
	delete(u.flows, f.key)
	u.count.Add(-1)
	a := u.cfg.Share(f.client.Addr())
	u.cfg.Shared.add(a, -1, 0)
	of := u.byAddress[a]
	of.flows = slices.DeleteFunc(of.flows, func(other *flow) bool { return other == f })
	f.stop()
	f.socket.ends()
}

// finished releases a flow whose goroutine ends.
func (u *UDP) finished(f *flow) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.endFlow(f)
	u.running--
	a := u.cfg.Share(f.client.Addr())
	u.cfg.Shared.add(a, 0, -1)
	if of := u.byAddress[a]; of.running > 1 {
		of.running--
	} else {
		delete(u.byAddress, a)
	}
	u.goroutines.Done()
}
