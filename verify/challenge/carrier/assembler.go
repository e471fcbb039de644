package carrier

import (
	"hash/maphash"
	"net/netip"
	"time"
)

const (
	// AssemblyTime is how long after its first part a message can become complete.
	AssemblyTime = 10 * time.Second

	ways = 8 // the entries among which a new message finds its place
)

// Assembler puts together messages whose parts arrive one by one, in any order. It
// holds a fixed number of messages. If there is no room, a new message replaces the
// oldest of the entries in which it could stand. Use NewAssembler to make it.
type Assembler struct {
	seed    maphash.Seed
	entries []assembly
}

type assembly struct {
	message Message
	from    netip.Addr
	began   time.Time
}

// NewAssembler makes an Assembler for at least n messages.
func NewAssembler(n int) *Assembler {
	return &Assembler{maphash.MakeSeed(), make([]assembly, max(1, (n+ways-1)/ways)*ways)}
}

// Add adds a part from an address, and reports whether the message of the part is
// complete: m is then all of it. A part of a complete message that arrives again
// completes it again, as the answer to the first may be lost. The parts of one message
// must come from one address, unless the kind has no address: pass the zero Addr then.
func (a *Assembler) Add(m *Message, from netip.Addr, now time.Time) bool {
	if m.Complete() {
		return true
	}
	e := a.entry(m.Exchange, m.Kind, now)
	if e.message.length == 0 {
		*e = assembly{*m, from, now}
		return false
	}
	if e.from != from || !e.message.Merge(m) || !e.message.Complete() {
		return false
	}
	*m = e.message
	return true
}

// entry returns the entry of a message, or an empty one.
func (a *Assembler) entry(x Exchange, k Kind, now time.Time) *assembly {
	set := int(maphash.Comparable(a.seed, x)%uint64(len(a.entries)/ways)) * ways
	oldest := &a.entries[set]
	for i := range ways {
		e := &a.entries[set+i]
		if e.message.length > 0 && now.Sub(e.began) > AssemblyTime {
			*e = assembly{}
		}
		if e.message.length > 0 && e.message.Exchange == x && e.message.Kind == k {
			return e
		}
		if e.began.Before(oldest.began) {
			oldest = e
		}
	}
	*oldest = assembly{}
	return oldest
}
