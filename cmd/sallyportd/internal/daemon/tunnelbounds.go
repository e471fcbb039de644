package daemon

import (
	"net/netip"
	"sync"
	"time"

	"sallyport/sessions"
	carriedtable "sallyport/sessions/handshakes/carried"
)

// Bounds of tunnels, in addition to those of a listener and of an address: with one secret
// and any number of addresses, a client keeps no tunnel of another operation out, and costs
// the server little.
const (
	maxTunnels = 512 // at a time, of all listeners
	// maxTunnelsEach is how many of them are of one client, or of one operation that
	// belongs to no client.
	maxTunnelsEach = 128
)

// Rates of tunnels: of one operation, and of all.
var (
	operationTunnels = sessions.Limit{Pause: 20 * time.Millisecond, Burst: 64}
	allTunnels       = sessions.Limit{Pause: 5 * time.Millisecond, Burst: 256}
)

// tunnelBounds count the tunnels whose ticket was right. The zero value is ready. It is
// safe for concurrent use.
type tunnelBounds struct {
	mu    sync.Mutex
	all   int
	of    map[string]int              // by owner, without zeros
	rates map[string]*sessions.Bucket // by operation
	rate  sessions.Bucket
}

// begin counts a tunnel of an owner, by an operation. It reports whether that is within
// the bounds; then the caller must call end.
func (b *tunnelBounds) begin(owner, operation string, now time.Time) (end func(), ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.of == nil {
		b.of, b.rates = map[string]int{}, map[string]*sessions.Bucket{}
	}
	rate := b.rates[operation]
	if rate == nil {
		rate = new(sessions.Bucket)
		b.rates[operation] = rate
	}
	if b.all >= maxTunnels || b.of[owner] >= maxTunnelsEach || !rate.Take(now, operationTunnels) || !b.rate.Take(now, allTunnels) {
		return nil, false
	}
	b.all++
	b.of[owner]++
	return func() { b.end(owner) }, true
}

func (b *tunnelBounds) end(owner string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all--
	if b.of[owner]--; b.of[owner] == 0 {
		delete(b.of, owner)
	}
}

// keep removes the rates of operations that are gone.
func (b *tunnelBounds) keep(o operations) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id := range b.rates {
		if _, ok := o.byID[id]; !ok {
			delete(b.rates, id)
		}
	}
}

// begin counts a tunnel: as a proof of its client, or of its address if the operation
// belongs to no client, and within tunnelBounds.
func (c *challenger) begin(p carriedtable.Proof, client netip.Addr) (end func(), ok bool) {
	o, ok := c.operations.Load().byID[p.Operation().ID()]
	if !ok || !c.proofs.admit(o, client) {
		return nil, false
	}
	if end, ok = c.tunnels.begin(o.tunnelOwner(), o.ID, c.now()); !ok {
		c.proofs.counts.limited.Add(1)
	}
	return end, ok
}

// tunnelOwner is the client of an operation, or the operation if it belongs to none. An
// ID of an operation has more bytes than a client's identifier.
func (o operation) tunnelOwner() string {
	if o.Client != "" {
		return o.Client
	}
	return o.ID
}
