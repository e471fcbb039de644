package client

import (
	"net/netip"
	"time"

	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// trial is one sequence to one address, and the watch after it.
type trial struct {
	target
	sequence
	index  int // of the target
	sender *sender
	// gateways are the names of those to which the knocks of a split sequence went, by port.
	gateways map[uint16]string
	sent     time.Time  // the last knock
	local    netip.Addr // the source of the knocks; invalid: not known
	base     uint32
	moved    bool     // the nonces are ahead of the next ones
	isn      wire.ISN // of connections to the service; 0: the kernel chooses
	prover   *ConnProver
	early    *earlyConn
	earlier  before // as known from the attempts before
	// drawn are the ports at which the service may be, if its port rotates, in minute.
	drawn  []*candidate
	minute schedule.Minute
	lanes  []*lane // one, or one for each of drawn
	lane   *lane   // that of the service that answered
	sighting
}

// was returns what the service did before the knock, as far as it is known.
func (tr *trial) was() before {
	if tr.early == nil {
		return tr.earlier
	}
	return tr.early.answer()
}

// newLanes returns the lanes of the watch.
func (tr *trial) newLanes(timeout time.Duration) (list []*lane) {
	for _, c := range tr.drawn {
		l := newLane(c.at, tr.sent, timeout, c.state)
		if l.taken = c.taken; len(list) > 0 {
			l.next = tr.sent.Add(otherCandidates)
		}
		list = append(list, l)
	}
	if tr.drawn == nil {
		list = append(list, newLane(tr.service, tr.sent, timeout, tr.was))
	}
	for _, l := range list {
		l.isn, l.prover = tr.isn, tr.prover
	}
	return list
}

// advance reports whether all lanes are over. Then the trial has what the first one saw:
// that of the likeliest port. If that lane is over, the others begin at once.
func (tr *trial) advance(now time.Time) (over bool) {
	first := tr.lanes[0]
	over = first.over
	for _, l := range tr.lanes[1:] {
		if first.over && l.next.After(now) && l.gap == firstGap {
			l.next = now
		}
		if first.err == errTaken {
			l.shorten(first.ended.Add(openBeforeTime))
		}
		over = over && l.over
	}
	tr.sighting, tr.service = first.sighting, first.service
	return over
}
