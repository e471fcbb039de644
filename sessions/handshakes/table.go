package handshakes

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"

	"sallyport/sessions/handshakes/limit"
	"sallyport/verify/challenge/exchange"
)

// Sizes and defaults.
const (
	DefaultSlots = 16384
	MinSlots     = 8
	MaxSlots     = 1 << 20
	// DefaultRate is the maximum number of challenges a second, to all addresses
	// together. A challenge has fewer bytes than the packets of its request.
	DefaultRate = 20_000
	// slotsPerKind is the maximum number of slots of an address for requests of
	// one kind, each with another source port.
	slotsPerKind = 4
	// waysPerKind is the number of slots of a bucket for each kind. It is larger
	// than slotsPerKind, so that several addresses of a bucket can have exchanges
	// at the same time.
	waysPerKind = 16
)

// Config is the configuration of a Table. Operations, Random, Answer and OnProof
// are required.
type Config struct {
	Operations *exchange.Operations
	Slots      int // rounded up to a power of two; 0: DefaultSlots
	Rate       int // challenges a second; 0: DefaultRate
	// KeyWork is how many computations with public keys the table makes in a second, of the
	// limit.KeyWork of the process; 0: all of them.
	KeyWork float64
	// Public4 and Public6 are the addresses under which clients know this host
	// (PID_B), if a translator changes them. Zero: the destination address.
	Public4, Public6 netip.Addr
	Random           io.Reader
	// Allows reports whether an address may request an operation. nil: any may.
	Allows func(*exchange.Operation, netip.Addr) bool
	// Port chooses the port for an operation with RandomPort. 0: none is free.
	Port func(*exchange.Operation) uint16
	// Answer sends a challenge. The payload is valid until it returns.
	Answer func(source, destination netip.AddrPort, payload []byte) error
	// AnswerEarlier is Answer for an earlier packet, if another gateway has received the
	// last packet of the request (Take). nil: no other gateway hands packets over.
	AnswerEarlier func(to Arrival, payload []byte) error
	// OnProof receives each proof, and the client's address, with its zone if it
	// is a link-local one. It must not block.
	OnProof func(exchange.Proof, netip.Addr)
}

// slot holds one exchange.
type slot struct {
	exchange.Responder
	client       netip.Addr
	port         uint16     // the source port; 0: any
	server       netip.Addr // the source address of the challenge
	lastPacket   time.Time  // the arrival time of the last new packet
	challengedAt time.Time  // the time at which the challenge was sent
	noLoss       bool       // not counted by incomplete: it may repeat a request, or another slot counts
	doubted      bool       // see receiveShared
	split        bool       // other gateways have received packets of the request
	direct       Arrival    // the latest packet of the request that this host received; zero: none
}

// Table holds all exchanges. It belongs to the goroutine that calls Receive.
type Table struct {
	cfg Config
	storage
	update      atomic.Pointer[storage]
	seed        [8]byte
	limit       limit.Challenges
	reserve     limit.Reserve
	nonceBuffer [exchange.NonceSize]byte
	payload     [exchange.MaxChallenge]byte
	sweptAt     time.Time // of the last call of Sweep
	wall        time.Time // of the last call of Turn
	counts      [NumOutcomes]atomic.Uint64
	trace       atomic.Pointer[Trace]
}

// storage is the part of a Table that depends on the operations.
type storage struct {
	operations *exchange.Operations
	minutes    *exchange.Minutes
	slots      []slot
	ways       int                // slots of a bucket
	swept      int                // the slot that Sweep saw last
	bySource   []*slot            // the slots of the current packet's source address
	single     exchange.Responder // decodes a packet alone
	spare      exchange.Responder // keeps a copy of a slot that may be evicted
}

// New allocates all memory for exchanges, and writes to it, so that the process
// does not grow when packets arrive.
func New(cfg Config) (*Table, error) {
	if cfg.Operations == nil || cfg.Random == nil || cfg.Answer == nil || cfg.OnProof == nil {
		return nil, errors.New("handshakes: Operations, Random, Answer and OnProof are required")
	}
	if cfg.Slots == 0 {
		cfg.Slots = DefaultSlots
	}
	if cfg.Slots < MinSlots || cfg.Slots > MaxSlots {
		return nil, fmt.Errorf("handshakes: expected %d to %d slots, got %d", MinSlots, MaxSlots, cfg.Slots)
	}
	if cfg.Rate == 0 {
		cfg.Rate = DefaultRate
	}
	if cfg.KeyWork == 0 {
		cfg.KeyWork = limit.KeyWork
	}
	reserved, others := limit.SplitWork(cfg.KeyWork)
	t := &Table{
		cfg: cfg, limit: limit.NewChallenges(float64(cfg.Rate), others),
		reserve: limit.NewReserve(cfg.Operations, cfg.Rate, reserved),
	}
	if _, err := io.ReadFull(cfg.Random, t.seed[:]); err != nil {
		return nil, fmt.Errorf("handshakes: draw a seed: %w", err)
	}
	t.storage = *t.newStorage(cfg.Operations)
	return t, nil
}

// newStorage allocates the storage for operations, and writes to each slot.
func (t *Table) newStorage(o *exchange.Operations) *storage {
	ways := waysPerKind
	for ways < waysPerKind*o.MaxKinds() {
		ways *= 2
	}
	n := ways
	for n < t.cfg.Slots {
		n *= 2
	}
	r := &storage{
		operations: o,
		minutes:    exchange.NewMinutes(o),
		slots:      make([]slot, n),
		ways:       ways,
		bySource:   make([]*slot, 0, ways),
	}
	responders := exchange.NewResponders(n+2, o)
	for i := range r.slots {
		r.slots[i].Responder = responders[i]
	}
	r.single, r.spare = responders[n], responders[n+1]
	return r
}

// Update changes the operations from the next packet on. The exchanges of one that
// stays, which is the same pointer before and after, go on; so do the requests that are
// not complete, if no operation of their kind changes. All others end. It allocates the
// new memory in the caller's goroutine, so that no packet waits for it.
func (t *Table) Update(o *exchange.Operations) { t.update.Store(t.newStorage(o)) }

func (t *Table) updateStorage() {
	r := t.update.Swap(nil)
	if r == nil {
		return
	}
	before := t.slots
	t.storage = *r
	t.minutes.Turn(t.wall)
	t.reserve.Update(t.operations)
	stays := map[*exchange.Operation]bool{}
	for _, o := range t.operations.List() {
		stays[o] = true
	}
	for i := range before {
		t.adopt(&before[i], stays)
	}
}

// adopt takes an exchange over from the slots before Update, if its operation stays. (If
// so many operations are new that an address has another bucket, it may find no room.)
func (t *Table) adopt(from *slot, stays map[*exchange.Operation]bool) {
	switch from.State() {
	case exchange.Requesting:
	case exchange.Challenged:
		if !stays[from.Requested().Operation()] {
			return
		}
	default:
		return
	}
	bucket := t.bucketOf(from.client)
	i := slices.IndexFunc(bucket, func(s slot) bool { return s.State() == exchange.Free })
	if i < 0 {
		return
	}
	to := &bucket[i]
	responder := to.Responder
	if responder.Adopt(&from.Responder, t.minutes.Kinds(from.client)) {
		*to = *from
		to.Responder = responder
	}
}

// Turn sets the time of day, on which the ports of operations that hop depend. Only
// the goroutine that calls Receive may call it, before each batch of packets, and also
// without packets, so that no packet waits for the kinds of a new minute.
func (t *Table) Turn(wall time.Time) {
	t.wall = wall
	t.updateStorage()
	t.minutes.Turn(wall)
}

// Receive handles an empty packet that this host received.
func (t *Table) Receive(source, destination netip.AddrPort, now time.Time) {
	t.Take(Arrival{Source: source, Destination: destination}, now)
}

// Take handles an empty packet. Like Receive, only one goroutine may call it.
func (t *Table) Take(a Arrival, now time.Time) {
	t.updateStorage()
	a.Source = netip.AddrPortFrom(a.Source.Addr().Unmap(), a.Source.Port())
	a.Destination = netip.AddrPortFrom(a.Destination.Addr().Unmap(), a.Destination.Port())
	p := packet{source: a.Source, destination: a.Destination, arrival: a, now: now}
	p.bucket = t.bucketOf(p.source.Addr())
	t.bySource = t.bySource[:0]
	for i := range p.bucket {
		if s := &p.bucket[i]; s.client == p.source.Addr() && !s.expired(now) {
			t.bySource = append(t.bySource, s)
		}
	}
	switch port := p.destination.Port(); {
	case !t.operations.IsResponse(port):
		t.count(t.receiveRequest(p))
	case !t.operations.IsRequest(port):
		t.count(t.receiveResponse(p))
	default:
		t.count(t.receiveShared(p))
	}
}

// packet holds the arguments of Receive, and the bucket of the source address.
type packet struct {
	source, destination netip.AddrPort
	arrival             Arrival
	now                 time.Time
	bucket              []slot
}

// bucketOf returns the bucket of an IPv4 address, or of the /64 of an IPv6
// address: an attacker with a /64, which is any number of addresses, has one
// bucket. An attacker that does not know the seed cannot choose addresses of a
// given client's bucket.
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

// receiveResponse handles a packet of a response.
func (t *Table) receiveResponse(p packet) Outcome {
	port := t.waitingPort(p)
	outcome := Unmatched
	for _, s := range t.bySource {
		if s.waitsFor(port, p) {
			outcome = betterOutcome(outcome, t.checkResponse(s, p))
		}
	}
	return outcome
}

// waitingPort returns the port of the challenges that a packet of a response can be
// for: its source port, or any port.
func (t *Table) waitingPort(p packet) uint16 {
	if port := p.source.Port(); t.find(exchange.Challenged, nil, port) != nil {
		return port
	}
	return anyPort
}

// waitsFor reports whether the slot has a challenge, for the source port or for any
// port, that waits for a response to the packet's destination.
func (s *slot) waitsFor(port uint16, p packet) bool {
	here := s.server == p.destination.Addr() || s.split && p.arrival.relayed()
	return s.State() == exchange.Challenged && s.port == port && here
}

// checkResponse adds a packet to the response to one challenge.
func (t *Table) checkResponse(s *slot, p packet) Outcome {
	before, o := s.Packets(), s.Requested().Operation()
	if !s.Response(p.destination.Port(), p.now) {
		t.traced(o, Refused, p.source.Addr())
		return Refused
	}
	s.renew(before, p.now)
	if s.State() != exchange.Verified {
		return Accepted
	}
	t.reserve.Add(s.Proof().Operation(), p.source.Addr(), p.now)
	t.cfg.OnProof(s.Proof(), p.source.Addr())
	s.Reset()
	return Verified
}

// betterOutcome returns the outcome of a packet that was compared with several
// challenges: if the packet is right for one of them, that counts.
func betterOutcome(a, b Outcome) Outcome {
	if a == Refused && b == Accepted || a == Accepted && b == Refused {
		return Accepted
	}
	return max(a, b)
}

// nonce draws a nonce. It reads into the table's memory, because a local variable
// that is passed to an interface is allocated.
func (t *Table) nonce() ([exchange.NonceSize]byte, error) {
	_, err := io.ReadFull(t.cfg.Random, t.nonceBuffer[:])
	return t.nonceBuffer, err
}

// maxDraws bounds the nonces that are drawn for a challenge. A plan with shared ports
// makes at least half of them usable, so the bound is hardly ever reached.
const maxDraws = 32

// nonceFor draws a nonce for the challenge that answers the request of a slot.
func (t *Table) nonceFor(s *slot, p packet) ([exchange.NonceSize]byte, error) {
	for range maxDraws {
		nonce, err := t.nonce()
		if err != nil || s.Distinct(p.source.Addr(), t.publicAddress(p.destination.Addr()), nonce) {
			return nonce, err
		}
	}
	return [exchange.NonceSize]byte{}, errNoNonce
}

var errNoNonce = errors.New("every response would have a port of its request")

// publicAddress returns the server's address as clients know it. The argument is
// the destination address of a packet.
func (t *Table) publicAddress(destination netip.Addr) netip.Addr {
	public := t.cfg.Public4
	if destination.Is6() {
		public = t.cfg.Public6
	}
	if public.IsValid() {
		return public
	}
	return destination
}
