package handshakes

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"

	"sallyport/verify/challenge/exchange"
)

// Sizes and defaults.
const (
	DefaultSlots = 16384
	MinSlots     = 8
	MaxSlots     = 1 << 20
	// DefaultRate is how many challenges leave in a second, to all addresses
	// together. They are smaller than what asks for them.
	DefaultRate = 20_000
	// perKind is how many slots an address has at the most, of one kind of
	// requests and each with a source port of its own.
	perKind = 3
	// waysPerKind is how many slots a bucket has for each kind: the addresses
	// that share it have room for more than one of them to be at work.
	waysPerKind = 8
)

// Config is what New needs. Operations, Random, Answer and Grant are required.
type Config struct {
	Operations *exchange.Operations
	Slots      int // rounded up to a power of two; 0: DefaultSlots
	Rate       int // challenges a second; 0: DefaultRate
	// Public4 and Public6 are the addresses by which clients know this host, if
	// it does not have them itself (PID_B); zero: it has.
	Public4, Public6 netip.Addr
	Random           io.Reader
	// Allows says whether an address may ask for an operation; nil: all may.
	Allows func(*exchange.Operation, netip.Addr) bool
	// Port chooses the port of an operation with a random one; 0: there is none.
	Port func(*exchange.Operation) uint16
	// Answer sends a challenge. The payload is valid until it returns.
	Answer func(source, destination netip.AddrPort, payload []byte) error
	// Grant is told who has proved what, and from which address, with the zone
	// that a link-local one has here. It must not block.
	Grant func(exchange.Proof, netip.Addr)
}

// slot is room for one exchange.
type slot struct {
	exchange.Responder
	client  netip.Addr
	port    uint16     // the source's; 0: any
	server  netip.Addr // that the challenge came from
	touched time.Time  // when its last new packet came
	// challenged is when its challenge was sent.
	challenged time.Time
}

// Table holds all exchanges.
type Table struct {
	cfg Config
	room
	update  atomic.Pointer[room]
	seed    [8]byte
	limit   limit
	drawn   [exchange.NonceSize]byte
	payload [exchange.MaxChallenge]byte
	counts  [Outcomes]atomic.Uint64
}

// room is all that depends on the operations.
type room struct {
	operations *exchange.Operations
	slots      []slot
	ways       int     // of a bucket
	mine       []*slot // of the source of the packet at hand
	reserve    reserve
	scratch    exchange.Responder // a packet alone
	spare      exchange.Responder // what is copied while its slot may go
}

// New makes all memory that exchanges will ever need, and writes to it: the
// process does not grow when packets come.
func New(cfg Config) (*Table, error) {
	if cfg.Operations == nil || cfg.Random == nil || cfg.Answer == nil || cfg.Grant == nil {
		return nil, errors.New("exchanges: operations, randomness, a way to answer and one to grant are required")
	}
	if cfg.Slots == 0 {
		cfg.Slots = DefaultSlots
	}
	if cfg.Slots < MinSlots || cfg.Slots > MaxSlots {
		return nil, fmt.Errorf("exchanges: %d slots: there are %d to %d", cfg.Slots, MinSlots, MaxSlots)
	}
	if cfg.Rate == 0 {
		cfg.Rate = DefaultRate
	}
	t := &Table{cfg: cfg, limit: limit{rate: float64(cfg.Rate)}}
	if _, err := io.ReadFull(cfg.Random, t.seed[:]); err != nil {
		return nil, fmt.Errorf("exchanges: draw a seed: %w", err)
	}
	t.room = *t.roomFor(cfg.Operations)
	return t, nil
}

// roomFor makes room for operations. Each slot is written to.
func (t *Table) roomFor(o *exchange.Operations) *room {
	ways := waysPerKind
	for ways < waysPerKind*o.MaxKinds() {
		ways *= 2
	}
	n := ways
	for n < t.cfg.Slots {
		n *= 2
	}
	r := &room{operations: o, slots: make([]slot, n), ways: ways, mine: make([]*slot, 0, ways), reserve: newReserve(o, t.cfg.Rate)}
	servers := exchange.NewResponders(n+2, o)
	for i := range r.slots {
		r.slots[i].Responder = servers[i]
	}
	r.scratch, r.spare = servers[n], servers[n+1]
	return r
}

// Update changes the operations from the next packet on. Nobody completes an
// exchange that was begun before. The memory for them is made here, so that no
// packet waits for it.
func (t *Table) Update(o *exchange.Operations) { t.update.Store(t.roomFor(o)) }

// Take takes an empty packet.
func (t *Table) Take(source, destination netip.AddrPort, now time.Time) {
	if r := t.update.Swap(nil); r != nil {
		t.room = *r
	}
	p := packet{netip.AddrPortFrom(source.Addr().Unmap(), source.Port()), netip.AddrPortFrom(destination.Addr().Unmap(), destination.Port()), now, nil}
	p.bucket = t.bucketOf(p.source.Addr())
	t.mine = t.mine[:0]
	for i := range p.bucket {
		if s := &p.bucket[i]; s.client == p.source.Addr() && !s.stale(now) {
			t.mine = append(t.mine, s)
		}
	}
	if t.operations.IsResponse(destination.Port()) {
		t.count(t.response(p))
		return
	}
	t.count(t.request(p))
}

// packet is what Take has been given, and where it belongs.
type packet struct {
	source, destination netip.AddrPort
	now                 time.Time
	bucket              []slot
}

// bucketOf returns the slots of an address, which are those of its /64: whoever
// has one, and so any number of addresses, has one bucket. An attacker that does
// not know the seed cannot aim at another's.
func (t *Table) bucketOf(a netip.Addr) []slot {
	var key [24]byte
	copy(key[:], t.seed[:])
	b := a.As16()
	n := len(b)
	if a.Is6() && !a.IsLinkLocalUnicast() { // all links have the same /64
		n = 8
	}
	copy(key[8:], b[:n])
	i := int(xxhash.Sum64(key[:]) % uint64(len(t.slots)/t.ways))
	return t.slots[i*t.ways : (i+1)*t.ways]
}

// response takes a packet of a response.
func (t *Table) response(p packet) Outcome {
	port := p.source.Port()
	if t.find(exchange.Challenged, nil, port) == nil {
		port = anyPort
	}
	outcome := Unmatched
	for _, s := range t.mine {
		if s.State() == exchange.Challenged && s.port == port && s.server == p.destination.Addr() {
			outcome = better(outcome, t.respond(s, p))
		}
	}
	return outcome
}

// respond holds a packet of a response against one challenge.
func (t *Table) respond(s *slot, p packet) Outcome {
	before := s.Packets()
	if !s.Response(p.destination.Port(), p.now) {
		return Refused
	}
	s.touch(before, p.now)
	if s.State() != exchange.Verified {
		return Accepted
	}
	t.reserve.proved(s.Proof().Operation(), p)
	t.cfg.Grant(s.Proof(), p.source.Addr())
	s.Reset()
	return Verified
}

// better returns which outcome counts for a packet that several challenges wait
// for: that it is right for one.
func better(a, b Outcome) Outcome {
	if a == Refused && b == Accepted || a == Accepted && b == Refused {
		return Accepted
	}
	return max(a, b)
}

// nonce draws one. It is read into the table's own memory: what is passed to an
// interface would be allocated.
func (t *Table) nonce() ([exchange.NonceSize]byte, error) {
	_, err := io.ReadFull(t.cfg.Random, t.drawn[:])
	return t.drawn, err
}

// public is the server's address as its clients know it.
func (t *Table) public(a netip.Addr) netip.Addr {
	known := t.cfg.Public4
	if a.Is6() {
		known = t.cfg.Public6
	}
	if known.IsValid() {
		return known
	}
	return a
}
