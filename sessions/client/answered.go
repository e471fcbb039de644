package client

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// answered returns the result of an attempt after which the service answered at some
// addresses. It records the result also if ctx is done.
func (k *knocking) answered(ctx context.Context, n int, won []*trial) (Result, error) {
	first := won[0]
	keep := k.cfg.Keep && ctx.Err() == nil
	if !keep {
		for _, tr := range won {
			tr.conn.closeInOrder()
			tr.conn = nil
		}
	}
	result := Result{
		Address: first.knock, Service: first.service, Watched: true, Attempts: n, Conn: first.conn,
		OpenBefore: n == 1 && first.before == beforeOpen && k.cfg.CheckBefore, Rejected: len(first.icmp) > 0,
	}
	for _, tr := range won[1:] {
		result.Also = append(result.Also, tr.service)
	}
	recorded := make(chan struct{})
	go func() {
		defer close(recorded)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
		defer cancel()
		k.record(ctx, won)
	}()
	if keep { // the connection does not wait for the disk
		first.conn.explain, first.conn.recorded = k.explain(n, first), recorded
		first.conn.keep(ctx, first.lane)
	} else {
		for _, tr := range won {
			tr.settle(ctx)
		}
		<-recorded
	}
	if err := ctx.Err(); err != nil {
		if keep {
			first.conn.Close()
		}
		return Result{}, err
	}
	result.NoncesBehind = k.reportMoved(won)
	return result, nil
}

// reportMoved reports that the nonces of a sequence that opened the service were ahead.
func (k *knocking) reportMoved(won []*trial) bool {
	for _, tr := range won {
		// If a drawn port was open already, an earlier attempt may have opened it, and the
		// client has only not used it.
		if tr.moved && tr.before != beforeOpen && !errors.Is(k.found.service, errTaken) {
			k.cfg.Report(Moved{Previous: tr.previous})
			return true
		}
	}
	return false
}

// explain returns the function with which a connection explains that it ended at once.
func (k *knocking) explain(n int, tr *trial) func(error) error {
	after := *k
	return func(err error) error {
		after.found.at, after.found.service, after.found.before = tr.service, err, tr.before
		after.found.server = tr.knock
		after.found.from(tr)
		return after.offline(n)
	}
}

// recordTime is how long the record of a result may wait for other processes.
const recordTime = 2 * time.Second

// record records where and with which nonces the service has opened. Errors do not
// matter: the next attempts move ahead too early, or need the resolver.
func (k *knocking) record(ctx context.Context, won []*trial) {
	var last *trial // the one with the highest nonces that has opened something
	var at []netip.Addr
	for _, tr := range won {
		if at = append(at, tr.knock); tr.drawn != nil {
			// Without the record, the next connection of this minute waits for another port.
			k.cfg.Nonces.see(ctx, k.cfg.Profile.Rotation.Service, tr.minute, tr.service)
		}
		if tr.before != beforeOpen && (last == nil || tr.base > last.base) {
			last = tr
		}
	}
	if last == nil {
		k.cfg.Nonces.unknown(ctx)
	} else {
		k.cfg.Nonces.Opened(ctx, last.base, k.cfg.Profile.Ports, last.before != beforeUnknown)
	}
	k.cfg.Nonces.rememberAddresses(ctx, k.cfg.Profile.Server, at...)
}
