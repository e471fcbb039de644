package carried

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/sessions/handshakes/limit"
	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

// Times, sizes and defaults.
const (
	// ExchangeTime is how long after its challenge an exchange ends.
	ExchangeTime = 30 * time.Second
	// TicketTime is how long after its proof a ticket can be taken.
	TicketTime = 30 * time.Second

	DefaultSlots = 16384
	MinSlots     = 64
	MaxSlots     = 1 << 20

	// rateDivisor: the maximum number of challenges a second, and its default, is the
	// number of slots divided by this. The reserve adds a quarter. So in minLife there
	// are fewer challenges than half of the slots.
	rateDivisor = 8
	// minLife is how long an exchange lasts at least, however many requests arrive.
	minLife = 3 * time.Second
)

// Config is the configuration of a Table. Operations, Random and OnProof are required.
// Several goroutines call the functions concurrently, and none under the table's lock.
type Config struct {
	Operations *exchange.Operations
	Slots      int // exchanges that are held; 0: DefaultSlots
	Rate       int // challenges a second, to all clients together; 0: the maximum, an eighth of Slots
	// KeyWork is how many computations with public keys the table makes in a second, of the
	// limit.KeyWork of the process; 0: all of them.
	KeyWork float64
	Random  io.Reader
	// Allows reports whether an address may request an operation: the zero Addr, if the
	// exchange is for a connection. nil: any may.
	Allows func(*exchange.Operation, netip.Addr) bool
	// Port chooses the port for an operation with RandomPort. 0: none is free.
	Port func(*exchange.Operation) uint16
	// OnProof receives each proof. It must not block. It does not get a proof of an
	// operation that Update has ended, unless it was called before Update.
	OnProof func(Proof)
}

// Proof is the result of a right response.
type Proof struct {
	exchange.Proof
	Address  netip.Addr // for which the exchange is, with its zone if it is link-local; zero: a connection
	Exchange carrier.Exchange
	// Counted is for the caller: a mark of the exchange, false at first, that OnProof and
	// Take get alike.
	Counted *atomic.Bool
}

// Table holds the exchanges of all carriers. It is safe for concurrent use.
type Table struct {
	cfg     Config
	catalog atomic.Pointer[catalog]
	counts  [NumOutcomes]atomic.Uint64
	trace   atomic.Pointer[Trace]

	turning sync.Mutex // held by Update and Turn
	wall    time.Time  // of the last call of Turn; guarded by turning

	mu          sync.Mutex
	storage     *storage // its fields are guarded by mu
	nonceBuffer [exchange.NonceSize]byte
}

// New allocates all memory for exchanges. If requests age, the table accepts none before
// Turn.
func New(cfg Config) (*Table, error) {
	if cfg.Operations == nil || cfg.Random == nil || cfg.OnProof == nil {
		return nil, errors.New("carried: Operations, Random and OnProof are required")
	}
	if cfg.Slots == 0 {
		cfg.Slots = DefaultSlots
	}
	if cfg.Slots < MinSlots || cfg.Slots > MaxSlots {
		return nil, fmt.Errorf("carried: expected %d to %d slots, got %d", MinSlots, MaxSlots, cfg.Slots)
	}
	if cfg.Rate == 0 {
		cfg.Rate = cfg.Slots / rateDivisor
	}
	if cfg.Rate < 1 || cfg.Rate > cfg.Slots/rateDivisor {
		return nil, fmt.Errorf("carried: expected a rate of 1 to %d for %d slots, got %d", cfg.Slots/rateDivisor, cfg.Slots, cfg.Rate)
	}
	if cfg.KeyWork == 0 {
		cfg.KeyWork = limit.KeyWork
	}
	t := &Table{cfg: cfg, storage: newStorage(cfg.Slots, cfg.Rate, cfg.KeyWork)}
	t.Update(cfg.Operations)
	return t, nil
}

// Update changes the operations. The exchanges of one that stays, which is the same
// pointer before and after, go on, and their tickets stay. All others end at once.
func (t *Table) Update(o *exchange.Operations) {
	t.turning.Lock()
	defer t.turning.Unlock()
	t.mu.Lock()
	byID := t.storage.update(o)
	t.mu.Unlock()
	t.catalog.Store(newCatalog(o, byID, t.wall))
}

// Turn sets the time of day, on which the masks of requests depend, if these age. Call it
// once a second.
func (t *Table) Turn(wall time.Time) {
	t.turning.Lock()
	defer t.turning.Unlock()
	t.wall = wall
	if was := t.catalog.Load(); was.turned(wall) != was {
		t.catalog.Store(was.turned(wall))
	}
}

// Sweep ends the exchanges that have expired. Now is a time of the clock of all other
// calls, which is never set. Call it once a second.
func (t *Table) Sweep(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, o := range t.storage.all {
		for i := range o.classes {
			c := &o.classes[i]
			for _, l := range c.lists() {
				for l.oldest != nil && !now.Before(l.oldest.until) {
					t.expire(l.oldest)
				}
			}
		}
	}
}

// expire ends an exchange that has expired. The caller holds mu.
func (t *Table) expire(s *slot) {
	if s.state == waiting {
		t.count(Expired)
		t.traced(s.operation, EventOf(Expired), s.client)
	}
	t.storage.release(s)
}

// insert returns a slot with the terms, and the exchange that gave way for it loses its
// own. The caller holds mu.
func (t *Table) insert(x terms, now time.Time) *slot {
	st := t.storage
	if st.free == nil {
		s := st.giveWay()
		if s.state != ended {
			t.count(Evicted)
			if s.state != proved {
				t.traced(s.operation, EventOf(Evicted), s.client)
			}
		}
		st.release(s)
	}
	s, at := st.free, st.bucket(x.exchange)
	st.free = s.next
	*s = slot{terms: x, state: waiting, until: now.Add(ExchangeTime), next: *at}
	*at = s
	x.class().waiting.add(s)
	return s
}

func (x *terms) class() *class {
	if x.kind == carrier.RequestConnection {
		return &x.operation.classes[1]
	}
	return &x.operation.classes[0]
}
