package client

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

const (
	// afterICMP is how long the client still watches after an ICMP error for a knock:
	// the sequence is not complete then.
	afterICMP = 250 * time.Millisecond

	// previousTime is how long the client watches after a sequence to the ports of the
	// previous minute.
	previousTime = time.Second

	// enoughAttempts is how many attempts must have the same certain result before the
	// client makes no further one. The first may cross the end of a minute.
	enoughAttempts = 2
)

// errUnanswered is the error of an attempt after which no service answered.
var errUnanswered = errors.New("no answer")

// knocking is one call of Knock.
type knocking struct {
	cfg     Config
	targets []target
	lookup  func(context.Context) <-chan []target // asks the resolver for more; nil: it has answered
	split   [][]netip.Addr                        // of the gateways, if sequences are split
	minute  schedule.Minute                       // of the last attempt
	begun   int                                   // the attempt for which nonces were reserved last
	nonces  attemptNonces                         // of this attempt
	// expected is the number of addresses to which a sequence goes soon: their nonces are
	// reserved at once. 0: to one.
	expected int
	reserved []uint32 // the first nonces of sequences that are like of
	of       sequence
	found    findings
	recorded time.Time // when this device wrote its nonce file before; zero: not known
	enough   bool      // one attempt has shown all that can be known
	own      bool      // the client watches the service of the profile
	granted  bool      // only granted addresses complete a handshake with the service
	// beforeOf has the state of drawn ports before the first knock of their minute.
	beforeOf map[netip.AddrPort]before
}

// sequence is what one sequence of an attempt is like.
type sequence struct {
	attempt  int
	previous bool // it goes to the ports of the previous minute
	byClock  bool // its nonces go by the clock
	second   bool // its nonces are from the second next nonce of the record, or from the first if the attempt has those
}

// addresses returns the addresses of the server to which a sequence goes. An address of
// which an ICMP error came has no port that another program holds: the other ports of
// the sequence would be open then, and that one would be silent. So no sequence to the
// ports of the previous minute goes there.
func (k *knocking) addresses(previous bool) (list []target) {
	for _, t := range k.targets {
		if !previous || !k.found.icmp[t.knock] {
			list = append(list, t)
		}
	}
	return list
}

// previousMinute returns the time with which the client stamps a sequence to the ports
// of the previous minute: its last second. Ok: the last attempt used the ports of this
// minute, one of which another program may hold, and this minute is not the first of
// Unix time, as on a computer that has no clock without power.
//
// The ports of the next minute may be open, too, but their timestamps are in the future.
// If no server listens, or the packets are lost, an attacker who has read them could
// replay them to a server that starts meanwhile: it rejects only timestamps up to its
// start. And a server that does not wait for its disk would reject all timestamps up to
// these after a crash.
func (k *knocking) previousMinute() (stamp time.Time, ok bool) {
	this := schedule.MinuteOf(k.cfg.Now())
	return lastSecond(this), this == k.minute && this > 0
}

// lastSecond returns the last second of the minute before another one.
func lastSecond(of schedule.Minute) time.Time { return of.Start().Add(-time.Second) }

// signed is a sequence to an address, before it is sent.
type signed struct {
	target
	seq    sequence
	index  int          // of the target, in a race
	local  netip.Addr   // the source of the knocks
	to     []netip.Addr // of the gateways, if the sequence is split
	base   uint32       // the first nonce
	moved  bool         // as in trial
	stamp  time.Time
	knocks []Packet
	isn    wire.ISN
	err    error
}

// send sends a sequence with new nonces to an address.
func (k *knocking) send(ctx context.Context, t target, seq sequence) (*trial, error) {
	s, err := k.begin(ctx, t, seq)
	if err != nil {
		return nil, err
	}
	k.sign(ctx, s)
	return k.transmit(s)
}

// begin reserves the nonces of a sequence to an address. Without a route it reserves none:
// a computer that is offline for weeks must not leave wire.MaxAhead.
func (k *knocking) begin(ctx context.Context, t target, seq sequence) (*signed, error) {
	_, local, err := sourceAddress(t.knock)
	if err != nil {
		return nil, &sendError{fmt.Errorf("send to %s: %w", t.knock, innermost(err))}
	}
	s := &signed{target: t, seq: seq, local: local}
	if s.to, err = k.to(t); err != nil {
		return nil, err
	}
	s.base, s.moved, err = k.reserve(ctx, seq)
	return s, err
}

// transmit sends a signed sequence.
func (k *knocking) transmit(s *signed) (*trial, error) {
	if s.err != nil {
		return nil, s.err
	}
	cfg, seq := k.cfg, s.seq
	tr := &trial{
		target: s.target, local: s.local, isn: s.isn, sequence: seq, index: s.index,
		base: s.base, moved: s.moved, minute: schedule.MinuteOf(s.stamp),
	}
	if !seq.previous {
		k.minute = tr.minute
	}
	var ports []uint16
	var err error
	if tr.target, ports, err = k.drawTarget(s.target, tr.minute); err != nil {
		return nil, err
	}
	switch {
	case s.rotates && cfg.Watch != WatchNone:
		tr.drawn = k.candidates(tr.target, ports, tr.minute)
	case seq.attempt == 1 && s.watched() && cfg.checksBefore():
		tr.early = beginEarly(s.service)
	}
	k.direct(s, tr)
	if tr.sender, err = send(s.knock, s.local, s.knocks); err != nil {
		tr.early.close()
		k.settleCandidates(tr.drawn)
		return nil, &sendError{err}
	}
	tr.sent = time.Now()
	cfg.Report(Sent{
		Attempt: seq.attempt, Of: cfg.Attempts, Address: s.knock, Packets: s.knocks, Base: s.base, Drawn: ports,
		Previous: seq.previous, ByClock: seq.byClock,
	})
	return tr, nil
}

func (k *knocking) unanswered(ctx context.Context, n int, tr *trial) {
	if tr.previous || tr.byClock {
		return // these ports may be closed, and the server may refuse these nonces: no finding
	}
	k.found.add(tr)
	if ctx.Err() == nil {
		k.cfg.Report(unanswered(n, tr, tr.icmp))
	}
}

func unanswered(n int, tr *trial, errs icmpErrors) Unanswered {
	refused := errs.count(portUnreachable)
	return Unanswered{Attempt: n, Address: tr.knock, Service: tr.service, Err: tr.err, Refused: refused, Blocked: len(errs) - refused}
}

// certain reports whether further attempts would have the same result as those made.
func (k *knocking) certain(attempts int) bool {
	if closedByProgram(k.found.service) || k.enough {
		return true
	}
	return attempts >= enoughAttempts && (k.found.letIn() || k.allRejected())
}

// allRejected reports whether no knock has arrived at any address.
func (k *knocking) allRejected() bool {
	for _, t := range k.targets {
		if !k.found.rejected[t.knock] {
			return false
		}
	}
	return true
}

// sendError is the error of packets that this computer could not send.
type sendError struct{ error }

func (e *sendError) Unwrap() error { return e.error }

func isSendError(err error) bool {
	var sending *sendError
	return errors.As(err, &sending)
}
