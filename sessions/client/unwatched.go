package client

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"time"
)

// unwatchedPause is the time between two sequences for a service that the client does
// not watch, and after the last one. ICMP errors arrive in it.
const unwatchedPause = 150 * time.Millisecond

// sendOnly sends all sequences to all addresses: without a service to watch, the client
// does not know which of them arrive. It fails if there are ICMP errors of each address:
// hosts limit the rate of these, so one error counts as much as several. It does not
// learn either up to which nonce the server has seen them, so from the third call on it
// also sends sequences whose nonces go by the clock.
func (k *knocking) sendOnly(ctx context.Context) (Result, error) {
	k.cfg.Attempts = cmp.Or(k.cfg.Attempts, DefaultAttempts)
	services := make([]netip.AddrPort, len(k.targets)) // of the last sequence to this minute's ports
	refused := make([]bool, len(k.targets))            // at least one knock
	rejected := make([]bool, len(k.targets))
	n := 0
	for n < k.cfg.Attempts {
		n++
		if n > 1 {
			k.begun = n // no attempt after the first one moves the nonces ahead
		}
		if _, ok := k.previousMinute(); ok && n == 2 && len(k.addresses(true)) > 0 {
			// These ports may be closed: ICMP errors have no meaning.
			if _, err := k.sendAll(ctx, sequence{attempt: n, previous: true}); err != nil {
				return Result{}, err
			}
		}
		sent, err := k.sendAll(ctx, sequence{attempt: n})
		if err != nil {
			return Result{}, err
		}
		if err := k.sendOther(ctx, n); err != nil {
			return Result{}, err
		}
		more := false
		for _, tr := range sent {
			services[tr.index] = tr.service
			k.found.addICMP(tr)
			refused[tr.index] = refused[tr.index] || len(tr.icmp) > 0
			rejected[tr.index] = rejected[tr.index] || tr.icmp.all(k.cfg.Profile.Ports)
			more = more || !rejected[tr.index]
			if len(tr.icmp) > 0 {
				k.cfg.Report(unanswered(n, tr, tr.icmp))
			}
		}
		if n >= enoughAttempts && !more {
			break
		}
	}
	for i, t := range k.targets {
		if !refused[i] {
			return Result{Address: t.knock, Service: cmp.Or(services[i], t.service), UDP: t.udp, Attempts: n}, nil
		}
	}
	return Result{}, k.offline(n)
}

// sendOther sends the sequences of an attempt that follow those with its own nonces.
func (k *knocking) sendOther(ctx context.Context, n int) error {
	var list []sequence
	if k.nonces.hasOther {
		list = append(list, sequence{attempt: n, second: true})
	}
	if n == k.cfg.Attempts && k.nonces.unopened > 1 {
		list = append(list, sequence{attempt: n, byClock: true})
	}
	for _, seq := range list {
		if _, err := k.sendAll(ctx, seq); err != nil && !errors.Is(err, errNoClock) {
			return err
		}
	}
	return nil
}

// sendAll sends a sequence to each address, and then waits for ICMP errors.
func (k *knocking) sendAll(ctx context.Context, seq sequence) (sent []*trial, err error) {
	var unsent []error
	targets := k.addresses(seq.previous)
	for i, t := range targets {
		tr, err := k.send(ctx, t, seq)
		switch {
		case isSendError(err):
			unsent = append(unsent, err)
		case err != nil:
			return nil, err
		default:
			defer tr.sender.Close()
			if seq.byClock {
				k.cfg.Nonces.sent(ctx, tr.base, k.cfg.Profile.Ports) // after an error, the next call only learns less
			}
			tr.index = i
			sent = append(sent, tr)
		}
	}
	if len(unsent) > 0 && len(sent) == 0 {
		return nil, k.cannotSend(seq.attempt, unsent)
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(unwatchedPause):
	}
	for _, tr := range sent {
		tr.icmp = tr.sender.icmp()
	}
	return sent, nil
}
