package carried

import (
	"hash/maphash"
	"net/netip"
	"time"

	"sallyport/sessions/handshakes/limit"
	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

// state is the state of an exchange in a slot.
type state uint8

const (
	free      state = iota
	waiting         // for the response
	verifying       // the response has arrived
	ended           // the response was wrong, or the ticket is taken; the request may be repeated
	proved          // the response was right, and the ticket is not taken
)

// slot holds one exchange.
type slot struct {
	terms
	state     state
	challenge [exchange.MaxChallenge]byte
	size      int // of the challenge
	pending   exchange.Pending
	proof     Proof
	until     time.Time // it is held
	next      *slot     // with the same hash, or the next free one
	list      *list     // that it is in
	older     *slot     // in the list
	newer     *slot
}

// terms are what a repeated request must have in common with the first one.
type terms struct {
	exchange  carrier.Exchange
	listener  *Listener
	operation *operation
	kind      carrier.Kind
	client    netip.Addr
	request   [exchange.MaxSignedRequest]byte // as it arrived; the rest is zero
}

// list is a list of slots, from the oldest to the newest.
type list struct {
	oldest, newest *slot
	n              int
}

func (l *list) add(s *slot) {
	s.list, s.older, s.newer = l, l.newest, nil
	if l.newest != nil {
		l.newest.newer = s
	} else {
		l.oldest = s
	}
	l.newest = s
	l.n++
}

func (l *list) remove(s *slot) {
	if s.older != nil {
		s.older.newer = s.newer
	} else {
		l.oldest = s.newer
	}
	if s.newer != nil {
		s.newer.older = s.older
	} else {
		l.newest = s.older
	}
	s.list, s.older, s.newer = nil, nil, nil
	l.n--
}

// class is the exchanges that share slots and a rate: of one operation, for addresses or
// for connections.
type class struct {
	waiting list // and verifying
	ended   list
	proved  list
	rate    limit.Challenges // its part of the rate
	repeats limit.Rate       // its part of the challenges that are sent again
}

func (c *class) lists() [3]*list { return [3]*list{&c.waiting, &c.ended, &c.proved} }

func (c *class) n() int { return c.waiting.n + c.ended.n + c.proved.n }

// first returns the exchange of the class that gives way first: one that has ended, or
// else the oldest of the challenges or of the proofs, whichever are more.
func (c *class) first() *slot {
	switch {
	case c.ended.n > 0:
		return c.ended.oldest
	case c.waiting.n >= c.proved.n:
		return c.waiting.oldest
	}
	return c.proved.oldest
}

// storage holds the exchanges of a Table. Table.mu guards it.
type storage struct {
	slots   []slot
	free    *slot
	buckets []*slot // by the hash of the number
	seed    maphash.Seed
	all     []*operation
	share   int              // slots of each class that no other one can take: half of all slots, divided
	rate    float64          // of all classes together, divided
	work    float64          // of all classes together, divided among those with public keys
	common  limit.Challenges // of all classes, in addition to their own
	repeats limit.Rate       // as common
	reserve limit.Reserve
}

// classRepeats is how many challenges of a class can be sent again at once.
const classRepeats = 4

// newStorage allocates the storage, and writes to each slot. It is for no operations
// before update. Work is the computations with public keys a second.
func newStorage(slots, rate int, work float64) *storage {
	buckets := 1
	for buckets < 2*slots {
		buckets *= 2
	}
	reserved, others := limit.SplitWork(work)
	st := &storage{
		slots: make([]slot, slots), buckets: make([]*slot, buckets), seed: maphash.MakeSeed(),
		rate: float64(rate) / 2, work: others / 2, common: limit.NewChallenges(float64(rate)/2, others/2),
		repeats: limit.NewRate(float64(rate) / 2).WithBurst(float64(rate) / 2),
		reserve: limit.NewReserve(new(exchange.Operations), rate, reserved),
	}
	for i := range st.slots {
		st.slots[i].next, st.free = st.free, &st.slots[i]
	}
	return st
}

// update changes the operations, and returns them by their IDs. Those that stay, as the
// same pointer, keep their exchanges; all others end.
func (st *storage) update(o *exchange.Operations) map[string]*operation {
	before := map[*exchange.Operation]*operation{}
	for _, op := range st.all {
		before[op.Operation] = op
	}
	list, signed := o.List(), 0
	for _, p := range list {
		if p.Signed() {
			signed++
		}
	}
	classes := 2 * max(len(list), 1)
	st.all, st.share = nil, len(st.slots)/2/classes
	repeats := limit.NewRate(st.rate / float64(classes)).WithBurst(classRepeats)
	byID := make(map[string]*operation, len(list))
	for _, p := range list {
		rate := limit.NewShare(p, st.rate/float64(classes), st.work/float64(2*max(signed, 1)))
		op := before[p]
		delete(before, p)
		if op == nil {
			op = &operation{Operation: p}
			for i := range op.classes {
				op.classes[i].rate, op.classes[i].repeats = rate, repeats
			}
		}
		for i := range op.classes {
			op.classes[i].rate.SetRates(rate)
			op.classes[i].repeats.SetRate(repeats)
		}
		byID[p.ID()] = op
		st.all = append(st.all, op)
	}
	for _, op := range before {
		op.gone = true
		for i := range op.classes {
			for _, l := range op.classes[i].lists() {
				for l.oldest != nil {
					st.release(l.oldest)
				}
			}
		}
	}
	st.reserve.Update(o)
	return byID
}

func (st *storage) bucket(x carrier.Exchange) **slot {
	return &st.buckets[maphash.Comparable(st.seed, x)%uint64(len(st.buckets))]
}

// lookup returns the slot of an exchange that has not expired, or nil. It returns
// expired exchanges to the free slots.
func (st *storage) lookup(x carrier.Exchange, now time.Time, expired func(*slot)) *slot {
	for s := *st.bucket(x); s != nil; s = s.next {
		if s.exchange == x {
			if now.Before(s.until) {
				return s
			}
			expired(s)
			return nil
		}
	}
	return nil
}

// move moves an exchange to another list of its class.
func (s *slot) move(to *list, as state) {
	s.list.remove(s)
	to.add(s)
	s.state = as
}

// release makes a slot free, and erases it.
func (st *storage) release(s *slot) {
	at := st.bucket(s.exchange)
	for *at != s {
		at = &(*at).next
	}
	*at = s.next
	s.list.remove(s)
	*s = slot{next: st.free}
	st.free = s
}

// giveWay returns the exchange that gives way to another one when no slot is free: of the
// classes beyond their share, the one that was due to expire first, but any that has ended
// before all others. The shares are half of the slots, so there is such a class, and its
// exchanges have the other half at least.
func (st *storage) giveWay() (first *slot) {
	for _, o := range st.all {
		for i := range o.classes {
			c := &o.classes[i]
			if c.n() <= st.share {
				continue
			}
			s := c.first()
			if first == nil || s.before(first) {
				first = s
			}
		}
	}
	return first
}

func (s *slot) before(other *slot) bool {
	if (s.state == ended) != (other.state == ended) {
		return s.state == ended
	}
	return s.until.Before(other.until)
}
