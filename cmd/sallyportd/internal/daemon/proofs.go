package daemon

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/cmd/sallyportd/internal/tracing"
	"sallyport/sessions"
	"sallyport/sessions/gate/access"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/wire"
)

// proofsPerOperation is how many proofs of an operation wait for the gate. One
// more is dropped, and its client starts over.
const proofsPerOperation = 256

// proof is the result of a verified exchange, and the address that it is for.
type proof struct {
	exchange.Proof
	from    netip.Addr
	counted *atomic.Bool // see uses.take; nil: no tunnel can come of the exchange
}

// prover identifies the proofs that count together: those of a client or, for an
// operation that belongs to no client, those of the operation from an address or
// /64. No prover delays the others, as with knocks in package sessions: for each
// prover, service and family only the newest proof waits, and each prover has a
// bucket. A random port, or an initial sequence number that the service requires, is
// of one exchange alone, so each proof with one waits.
type prover struct {
	client    string
	operation string // if it belongs to no client
	from      netip.Prefix
}

func (o operation) prover(a netip.Addr) prover {
	if o.Client != "" {
		return prover{client: o.Client}
	}
	bits := a.BitLen()
	if a.Is6() && !a.IsLinkLocalUnicast() {
		bits = access.PrefixNetwork
	}
	prefix, _ := a.WithZone("").Prefix(bits) // of a valid address it does not fail
	return prover{operation: o.ID, from: prefix}
}

// slot is where a prover's proof waits for one service and family.
type slot struct {
	prover
	service access.ServiceID
	ipv6    bool
	port    uint16   // the random port; 0: the service's own
	isn     wire.ISN // 0: the service requires none
}

// slot returns where a proof of the operation waits.
func (o operation) slot(p proof) slot {
	s := slot{prover: o.prover(p.from), service: o.service, ipv6: p.from.Is6(), port: p.Port()}
	if o.isn {
		s.isn = p.ISN()
	}
	return s
}

// proofs wait for the gate. One goroutine calls take, any others put.
type proofs struct {
	now    func() time.Time
	wake   chan struct{} // closed at the end
	counts struct{ lost, limited, superseded atomic.Uint64 }

	mu      sync.Mutex
	closed  bool
	list    []proof
	at      map[slot]int
	waiting map[string]int // by operation
	// The buckets of clients, one for each client with operations; and the buckets
	// of operations that belong to no client, a fixed number, hashed with a secret
	// seed.
	clients map[string]*sessions.Bucket
	others  [4096]sessions.Bucket
	seed    maphash.Seed
}

func newProofs(now func() time.Time) *proofs {
	return &proofs{
		now: now, wake: make(chan struct{}, 1), at: map[slot]int{}, waiting: map[string]int{},
		clients: map[string]*sessions.Bucket{}, seed: maphash.MakeSeed(),
	}
}

// put adds the proof of an operation, or drops and counts it. It never blocks. It returns
// Verified, or what a trace shows instead.
func (p *proofs) put(o operation, next proof) tracing.Proof {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return tracing.Verified // a request over HTTP may outlast its listener
	}
	s := o.slot(next)
	if !p.count(s.prover) {
		return tracing.Limited
	}
	if i, ok := p.at[s]; ok {
		p.waiting[p.list[i].Operation().ID()]--
		p.waiting[o.ID]++
		p.list[i] = next
		p.counts.superseded.Add(1)
		return tracing.Superseded
	}
	if p.waiting[o.ID] >= proofsPerOperation {
		p.counts.lost.Add(1)
		return tracing.Lost
	}
	p.waiting[o.ID]++
	p.at[s] = len(p.list)
	p.list = append(p.list, next)
	select {
	case p.wake <- struct{}{}:
	default:
	}
	return tracing.Verified
}

// admit counts a tunnel as a proof, and reports whether its prover may have one more.
func (p *proofs) admit(o operation, from netip.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.closed && p.count(o.prover(from))
}

// count takes a token of a prover, and reports whether there was one. The caller holds mu.
func (p *proofs) count(who prover) bool {
	if !p.bucket(who).Take(p.now(), sessions.Limit{}) {
		p.counts.limited.Add(1)
		return false
	}
	return true
}

// close closes wake. Later proofs are dropped.
func (p *proofs) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	close(p.wake)
}

func (p *proofs) bucket(who prover) *sessions.Bucket {
	if who.client == "" {
		return &p.others[maphash.Comparable(p.seed, who)%uint64(len(p.others))]
	}
	b := p.clients[who.client]
	if b == nil {
		b = new(sessions.Bucket)
		p.clients[who.client] = b
	}
	return b
}

// take returns all proofs that wait.
func (p *proofs) take() []proof {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.list
	p.list = nil
	clear(p.at)
	clear(p.waiting)
	return list
}

// keepClients removes the buckets of clients without an operation.
func (p *proofs) keepClients(o operations) {
	p.mu.Lock()
	defer p.mu.Unlock()
	has := map[string]bool{}
	for _, op := range o.byID {
		has[op.Client] = true
	}
	for id := range p.clients {
		if !has[id] {
			delete(p.clients, id)
		}
	}
}
