package client

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// answered returns the result of an attempt after which the service answered at some
// addresses.
func (k *knocking) answered(ctx context.Context, n int, won []*trial) (Result, error) {
	first, opened := won[0], []*trial{}
	for _, tr := range won {
		if err := ctx.Err(); err != nil || !k.cfg.Keep {
			tr.conn.closeInOrder()
			if tr.conn = nil; err != nil {
				return Result{}, err
			}
			tr.settle(ctx)
		}
		if tr.before != beforeOpen {
			opened = append(opened, tr)
		}
	}
	result := Result{
		Address: first.knock, Service: first.service, Watched: true, Attempts: n, Conn: first.conn,
		OpenBefore: n == 1 && first.before == beforeOpen && k.cfg.CheckBefore, Rejected: len(first.icmp) > 0,
	}
	for _, tr := range won[1:] {
		result.Also = append(result.Also, tr.service)
	}
	for _, tr := range opened {
		// If a drawn port was open already, an earlier attempt may have opened it, and the
		// client has only not used it.
		if tr.moved && !result.NoncesBehind && !errors.Is(k.found.service, errTaken) {
			result.NoncesBehind = true
			k.cfg.Report(Moved{Previous: tr.previous})
		}
	}
	if first.conn == nil {
		k.record(ctx, won, opened)
		return result, nil
	}
	first.conn.explain = k.explain(n, first)
	if !k.granted {
		first.conn.keep(ctx, first.lane)
	}
	// The connection does not wait for the disk.
	recorded := make(chan struct{})
	first.conn.recorded = recorded
	go func() {
		defer close(recorded)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
		defer cancel()
		k.record(ctx, won, opened)
	}()
	return result, nil
}

// explain returns the function with which a connection explains that it ended at once.
func (k *knocking) explain(n int, tr *trial) func(error) error {
	after := *k
	return func(err error) error {
		after.found.at, after.found.service, after.found.before = tr.service, err, tr.before
		return after.offline(n)
	}
}

// recordTime is how long the record of a result may wait for other processes.
const recordTime = 2 * time.Second

// record records where and with which nonces the service has opened. Errors do not
// matter: the next attempts move ahead too early, or need the resolver.
func (k *knocking) record(ctx context.Context, won, opened []*trial) {
	for _, tr := range won {
		if tr.drawn != nil {
			// Without the record, the next connection of this minute waits for another port.
			k.cfg.Nonces.see(ctx, k.cfg.Profile.Rotation.Service, tr.minute, tr.service)
		}
	}
	var at []netip.Addr
	for _, tr := range won {
		at = append(at, tr.knock)
	}
	k.cfg.Nonces.rememberAddresses(k.cfg.Profile.Server, at...)
	if len(opened) == 0 {
		k.cfg.Nonces.unknown(ctx)
		return
	}
	last := opened[0]
	for _, tr := range opened {
		if tr.base > last.base {
			last = tr
		}
	}
	k.cfg.Nonces.Opened(ctx, last.base, k.cfg.Profile.Ports, last.before != beforeUnknown)
}
