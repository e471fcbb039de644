package client

import (
	"context"
	"time"
)

// unwatchedPause is the time between two sequences for a service that the client does
// not watch, and after the last one. ICMP errors arrive in it.
const unwatchedPause = 150 * time.Millisecond

// sendOnly sends all sequences to all addresses: without a service to watch, the client
// does not know which of them arrive. It fails if there are ICMP errors of each address:
// hosts limit the rate of these, so one error counts as much as several.
func (k *knocking) sendOnly(ctx context.Context) (Result, error) {
	refused := make([]bool, len(k.targets)) // at least one knock
	rejected := make([]bool, len(k.targets))
	n := 0
	for n < k.cfg.Attempts {
		n++
		if n > 1 {
			k.begun = n // no attempt after the first one moves the nonces ahead
		}
		if _, ok := k.previousMinute(); ok && n == 2 && len(k.addresses(true)) > 0 {
			// These ports may be closed: ICMP errors have no meaning.
			if _, err := k.sendAll(ctx, n, true); err != nil {
				return Result{}, err
			}
		}
		sent, err := k.sendAll(ctx, n, false)
		if err != nil {
			return Result{}, err
		}
		more := false
		for _, tr := range sent {
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
			return Result{Address: t.knock, Service: t.service, UDP: t.udp, Attempts: n}, nil
		}
	}
	return Result{}, k.offline(n)
}

// sendAll sends a sequence to each address, and then waits for ICMP errors.
func (k *knocking) sendAll(ctx context.Context, n int, previous bool) (sent []*trial, err error) {
	var unsent []error
	targets := k.addresses(previous)
	for i, t := range targets {
		tr, err := k.send(ctx, t, n, previous)
		switch {
		case isSendError(err):
			unsent = append(unsent, err)
		case err != nil:
			return nil, err
		default:
			defer tr.sender.Close()
			tr.index = i
			sent = append(sent, tr)
		}
	}
	if len(unsent) > 0 && len(sent) == 0 {
		return nil, k.cannotSend(n, unsent)
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
