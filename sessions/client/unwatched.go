package client

import (
	"cmp"
	"context"
	"errors"
	"time"
)

const (
	// DefaultUnwatched is how many attempts Knock makes to a service that it does not
	// watch, by default: a lost packet costs one of them.
	DefaultUnwatched = 2
	// unwatchedPause is the time between two sequences: packets that are sent at one time
	// are often lost together.
	unwatchedPause = 150 * time.Millisecond
	// laterTime is how long the last attempt waits for the addresses that only the resolver
	// gives, and resolverTime is that if all others are dead.
	laterTime    = 250 * time.Millisecond
	resolverTime = 2 * time.Second
	// icmpTime is how long ICMP errors may take to arrive after the last sequence.
	icmpTime = 350 * time.Millisecond
)

// openSockets is of how many attempts the sockets stay open, to receive ICMP errors.
const openSockets = 8

// unwatched is one call of Knock for a service that the client does not watch.
type unwatched struct {
	*knocking
	sent  []*trial        // to this minute's ports
	later <-chan []target // the resolver's answer; nil: it has come, or there is none
}

// sendOnly sends all sequences to all addresses: without a service to watch, the client
// does not know which of them arrive. The last attempt also goes to the addresses that only
// the resolver gives. It fails if there are ICMP errors of each address: hosts limit the
// rate of these, so one error counts as much as several. It ends early if each address
// refuses all knocks of a sequence. It does not learn either up to which nonce the server
// has seen them, so from the third call on it also sends sequences whose nonces go by the
// clock.
func (k *knocking) sendOnly(ctx context.Context) (Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // of the resolver
	k.cfg.Attempts = cmp.Or(k.cfg.Attempts, DefaultUnwatched)
	u := unwatched{knocking: k}
	defer func() { u.closeBefore(k.cfg.Attempts + 1) }()
	if k.lookup != nil {
		u.later = k.lookup(ctx)
	}
	n := 0
	for more := true; more; {
		n++
		last := n >= k.cfg.Attempts
		if last {
			u.addLater(ctx, laterTime)
		}
		if err := u.attempt(ctx, n); err != nil {
			return Result{}, err
		}
		wait := unwatchedPause
		if last {
			wait = icmpTime
		}
		certain, err := u.awaitICMP(ctx, wait)
		if err != nil {
			return Result{}, err
		}
		more = !certain && !last || certain && u.addLater(ctx, resolverTime)
	}
	for _, tr := range u.sent {
		k.found.addICMP(tr)
		k.found.sentFrom, k.found.server = tr.local, tr.knock
		if len(tr.icmp) > 0 {
			k.cfg.Report(unanswered(tr.attempt, tr, tr.icmp))
		}
	}
	for _, t := range k.targets {
		if tr := u.last(t); tr != nil && !k.found.icmp[t.knock] {
			return Result{Address: t.knock, Service: tr.service, UDP: t.udp, Attempts: n}, nil
		}
	}
	return Result{}, k.offline(n)
}

// attempt sends the sequences of an attempt.
func (u *unwatched) attempt(ctx context.Context, n int) error {
	if n > 1 {
		u.begun = n // no attempt after the first one moves the nonces ahead
	}
	u.closeBefore(n - openSockets)
	// The ports of the previous minute may be closed: ICMP errors have no meaning.
	if _, ok := u.previousMinute(); ok && n == 2 && len(u.addresses(true)) > 0 {
		if err := u.sendAll(ctx, sequence{attempt: n, previous: true}); err != nil {
			return err
		}
		if err := sleep(ctx, unwatchedPause); err != nil {
			return err
		}
	}
	if err := u.sendAll(ctx, sequence{attempt: n}); err != nil {
		return err
	}
	return u.sendOther(ctx, n)
}

// sendOther sends the sequences of an attempt that follow those with its own nonces.
func (u *unwatched) sendOther(ctx context.Context, n int) error {
	var list []sequence
	if u.nonces.hasOther {
		list = append(list, sequence{attempt: n, second: true})
	}
	if n == u.cfg.Attempts && u.nonces.unopened > 1 {
		list = append(list, sequence{attempt: n, byClock: true})
	}
	for _, seq := range list {
		if err := sleep(ctx, unwatchedPause); err != nil {
			return err
		}
		if err := u.sendAll(ctx, seq); err != nil && !errors.Is(err, errNoClock) {
			return err
		}
	}
	return nil
}

// sendAll sends a sequence to each address.
func (u *unwatched) sendAll(ctx context.Context, seq sequence) error {
	var unsent []error
	targets := u.addresses(seq.previous)
	for _, t := range targets {
		tr, err := u.send(ctx, t, seq)
		switch {
		case isSendError(err):
			unsent = append(unsent, err)
			continue
		case err != nil:
			return err
		case seq.byClock:
			u.cfg.Nonces.sent(ctx, tr.base, u.cfg.Profile.Ports) // after an error, the next call only learns less
		}
		if seq.previous {
			tr.sender.Close()
		} else {
			u.sent = append(u.sent, tr)
		}
	}
	if len(unsent) > 0 && len(unsent) == len(targets) {
		return u.cannotSend(seq.attempt, unsent)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
