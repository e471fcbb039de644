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
		var sent []*trial
		var unsent []error
		for i, t := range k.targets {
			tr, err := k.send(ctx, t, n, n == 1 && i == 0)
			switch {
			case isSendError(err):
				unsent = append(unsent, err)
			case err != nil:
				return Result{}, err
			default:
				defer tr.sender.Close()
				tr.index = i
				sent = append(sent, tr)
			}
		}
		if len(sent) == 0 {
			return Result{}, k.cannotSend(n, unsent)
		}
		select {
		case <-ctx.Done():
			return Result{}, ctx.Err()
		case <-time.After(unwatchedPause):
		}
		more := false
		for _, tr := range sent {
			errs := tr.sender.icmp()
			k.found.addICMP(errs)
			refused[tr.index] = refused[tr.index] || len(errs) > 0
			rejected[tr.index] = rejected[tr.index] || errs.all(k.cfg.Profile.Ports)
			more = more || !rejected[tr.index]
			if len(errs) > 0 {
				k.cfg.Report(unanswered(n, tr, errs))
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
