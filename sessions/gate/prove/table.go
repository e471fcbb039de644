package prove

import (
	"net/netip"
	"time"

	"sallyport/verify"
	"sallyport/verify/preamble"
)

// stage is how far a handshake is.
type stage uint8

const (
	free     stage = iota
	waiting        // for the whole preamble
	checking       // the preamble is authentic; the Nonces check it
	answered       // waiting for the whole proof
)

// ref names a slot for as long as one connection has it.
type ref struct {
	index int32
	turn  uint32 // how often the slot has been used
}

// slot is a connection without a proof.
type slot struct {
	stage   stage
	copied  bool  // its preamble is that of an older connection
	have    uint8 // bytes of the message
	watched bool  // run gets its events
	turn    uint32
	fd      int
	from    netip.Addr
	peer    netip.Prefix // whose share it counts for
	end     time.Time
	target  Target
	buffer  [preamble.Size]byte
	claim   verify.Claim
	nonce   [preamble.NonceSize]byte

	older, newer int32 // the list by age; newer is also the list of free slots
}

// nowhere is the index of no slot.
const nowhere = -1

// table is the connections without a proof, in the order of their age. Its size is
// fixed, and so is the share of a peer.
type table struct {
	slots          []slot
	share          int
	used           int
	oldest, newest int32
	unused         int32
}

func newTable(size, share int) table {
	t := table{slots: make([]slot, size), share: share, oldest: nowhere, newest: nowhere}
	for i := range t.slots {
		t.slots[i].newer = int32(i) + 1
	}
	t.slots[size-1].newer = nowhere
	return t
}

// get returns a connection; nil: it has left the table.
func (t *table) get(r ref) *slot {
	if s := &t.slots[r.index]; s.stage != free && s.turn == r.turn {
		return s
	}
	return nil
}

// victim returns the connection that must leave the table before one of a peer can be
// put into it: the oldest of this peer, if the peer has its share; otherwise the oldest
// of all, if the table is full. Connections with an authentic preamble that is no copy
// are the last to leave: attackers without a secret have none, or a copy.
func (t *table) victim(p netip.Prefix) (r ref, ok bool) {
	own, all := 0, 0
	candidates := [2][2]int32{{nowhere, nowhere}, {nowhere, nowhere}} // own and all, without and with a preamble
	for i := t.oldest; i != nowhere; i = t.slots[i].newer {
		s := &t.slots[i]
		with := 0
		if s.stage != waiting && !s.copied {
			with = 1
		}
		note := func(of *[2]int32) {
			if of[with] == nowhere {
				of[with] = i
			}
		}
		note(&candidates[1])
		if all++; s.peer == p {
			note(&candidates[0])
			own++
		}
	}
	of := candidates[1]
	switch {
	case own >= t.share:
		of = candidates[0]
	case all < len(t.slots):
		return ref{}, false
	}
	i := of[0]
	if i == nowhere {
		i = of[1]
	}
	return ref{i, t.slots[i].turn}, true
}

// put adds a connection as the newest. The table must not be full: see victim.
func (t *table) put(fd int, from netip.Addr, p netip.Prefix, target Target, end time.Time) ref {
	i := t.unused
	s := &t.slots[i]
	t.unused = s.newer
	*s = slot{stage: waiting, turn: s.turn + 1, fd: fd, from: from, peer: p, end: end, target: target, older: t.newest, newer: nowhere}
	if t.newest == nowhere {
		t.oldest = i
	} else {
		t.slots[t.newest].newer = i
	}
	t.newest = i
	t.used++
	return ref{i, s.turn}
}

// remove removes a connection, and clears what it had. Its descriptor stays open.
func (t *table) remove(s *slot) {
	i := t.oldest
	if s.older == nowhere {
		t.oldest = s.newer
	} else {
		i = t.slots[s.older].newer
		t.slots[s.older].newer = s.newer
	}
	if s.newer == nowhere {
		t.newest = s.older
	} else {
		t.slots[s.newer].older = s.older
	}
	*s = slot{turn: s.turn, newer: t.unused}
	t.unused = i
	t.used--
}

// isCopy reports whether another connection has the preamble of s. A client sends each to
// one connection.
func (t *table) isCopy(s *slot) bool {
	for i := t.oldest; i != nowhere; i = t.slots[i].newer {
		o := &t.slots[i]
		if o != s && o.stage > waiting && o.claim.Identifier() == s.claim.Identifier() && o.claim.Nonce() == s.claim.Nonce() {
			return true
		}
	}
	return false
}

// next returns the oldest connection; nil: there is none.
func (t *table) next() *slot {
	if t.oldest == nowhere {
		return nil
	}
	return &t.slots[t.oldest]
}
