package split

import (
	"math"
	"net/netip"
	"slices"
	"sync"
	"time"

	"sallyport/sessions"
	"sallyport/verify"
	"sallyport/verify/wire"
)

const (
	// delay is how long an attempt collects knocks before its part is published. The knocks
	// of a sequence are sent back to back.
	delay = 10 * time.Millisecond
	// maxHeld is how many attempts of a client collect knocks at a time.
	maxHeld = maxAttempts
	// maxPending is how many attempts of all clients do.
	maxPending = 16384
)

// pending is an attempt that collects knocks.
type pending struct {
	knock   verify.Knock // the first
	knocks  mask
	address netip.Addr // of the first
	differ  uint8
	due     time.Time
	over    bool // it is not published
}

func (p *pending) is(k *verify.Knock) bool {
	return p.knock.Secret() == k.Secret() && p.knock.Base() == k.Base()
}

// collector has the attempts that collect knocks.
type collector struct {
	limit sessions.Limit

	mu      sync.Mutex
	clients map[wire.Identifier]*holder
	queue   []*pending // ascending by due
	// swept is how many clients were left when those with a full bucket were removed.
	swept int
}

// holder has the attempts of a client.
type holder struct {
	bucket sessions.Bucket
	held   []*pending // in the order of their first knocks
}

func newCollector(l sessions.Limit) *collector {
	return &collector{limit: l, clients: map[wire.Identifier]*holder{}}
}

// add takes a knock of an attempt that is not complete. First: no attempt waited before it.
// Drops: an attempt is not published because of it, for a reason.
func (c *collector) add(k verify.Knock, from netip.Addr, now time.Time) (first, drops bool, why Outcome) {
	from = from.Unmap()
	if k.Closes() || !travels(from) {
		return false, false, 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.clients[k.Identifier()]
	if h == nil {
		h = new(holder)
	}
	for _, p := range h.held {
		if p.is(&k) {
			p.add(&k, from)
			return false, false, 0
		}
	}
	if len(c.queue) == maxPending {
		return false, true, QueueFull
	}
	if len(h.held) == maxHeld {
		h.held[0].over = true
		h.held = slices.Delete(h.held, 0, 1)
		drops, why = true, Crowded
	}
	p := &pending{knock: k, address: from, due: now.Add(delay)}
	p.knocks.set(k.Sequence())
	h.held = append(h.held, p)
	c.clients[k.Identifier()] = h
	c.queue = append(c.queue, p)
	return len(c.queue) == 1, drops, why
}

// add takes a further knock. Those of one attempt have the same timestamp.
func (p *pending) add(k *verify.Knock, from netip.Addr) {
	p.knocks.set(k.Sequence())
	p.differ = max(p.differ, sessions.Differ(p.address, from))
	p.over = p.over || k.Timestamp() != p.knock.Timestamp() || p.differ == math.MaxUint8
}

// end drops the attempt of a knock: it is complete here, or opens nothing.
func (c *collector) end(k verify.Knock) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.clients[k.Identifier()]; h != nil {
		for _, p := range h.held {
			p.over = p.over || p.is(&k)
		}
	}
}

// take removes and returns the attempts that are due, by client, and how many are not
// published since their clients are over the limit. Next is when it must be called again;
// zero: no attempt waits.
func (c *collector) take(now time.Time) (due map[wire.Identifier][]*pending, limited int, next time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for ; n < len(c.queue) && !c.queue[n].due.After(now); n++ {
		p := c.queue[n]
		id := p.knock.Identifier()
		h := c.clients[id]
		if i := slices.Index(h.held, p); i >= 0 {
			h.held = slices.Delete(h.held, i, i+1)
		}
		switch {
		case p.over:
		case !h.bucket.Take(now, c.limit):
			limited++
		default:
			if due == nil {
				due = map[wire.Identifier][]*pending{}
			}
			due[id] = append(due[id], p)
		}
	}
	c.queue = slices.Delete(c.queue, 0, n)
	c.sweep(now)
	if len(c.queue) > 0 {
		next = c.queue[0].due
	}
	return due, limited, next
}

// sweep forgets clients whose bucket is full, when there are twice as many as were left
// before.
func (c *collector) sweep(now time.Time) {
	if len(c.clients) < 2*c.swept+64 {
		return
	}
	for id, h := range c.clients {
		if len(h.held) == 0 && h.bucket.Full(now) {
			delete(c.clients, id)
		}
	}
	c.swept = len(c.clients)
}
