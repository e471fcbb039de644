package firewall

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// retry is the time between two attempts to make the table again, if the
	// kernel refuses the table or some of its elements.
	retry = 100 * time.Millisecond
	// overflowPause is the time between two comparisons while the kernel sends
	// so many events that some are lost.
	overflowPause = 20 * time.Millisecond
)

// Keep makes the table again whenever another program has removed or changed
// it, until the context ends; then it returns nil. It waits for the kernel's
// events (NFNLGRP_NFTABLES), and reads the table only after an event that is
// not ours, or if the kernel dropped events. It reports each repair, and once
// the error that prevents one. It returns an *OwnedError if another process has
// claimed the table: from then on all methods return that error.
//
// Keep uses the network namespace of the thread that calls it. At most one Keep
// runs.
func (t *Table) Keep(ctx context.Context, report func(Repair)) error {
	events, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{Groups: 1 << (unix.NFNLGRP_NFTABLES - 1)})
	if err != nil {
		return fmt.Errorf("subscribe to nf_tables events: %w", explain(err))
	}
	defer events.Close()
	if err := events.SetReadBuffer(bufferSize); err != nil {
		return fmt.Errorf("subscribe to nf_tables events: %w", err)
	}
	t.pending.watch(true)
	defer t.pending.watch(false)
	changed := make(chan struct{}, 1)
	changed <- struct{}{} // there was no event for earlier changes
	done := make(chan error, 1)
	go func() { done <- t.receiveEvents(ctx, events, changed) }()
	defer func() {
		events.Close()
		<-done
	}()

	failing := false
	retryTimer := time.NewTimer(0)
	retryTimer.Stop()
	defer retryTimer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-done:
			done <- err
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("subscribe to nf_tables events: %w", err)
		case <-changed:
		case <-retryTimer.C:
		}
		r, err := t.Restore()
		if otherOwner := (*OwnedError)(nil); errors.As(err, &otherOwner) {
			return otherOwner
		}
		r.Err = errors.Join(err, r.Err)
		if r.Err != nil {
			retryTimer.Reset(retry)
		}
		if r.Fault != "" || !r.Jumps.IsZero() || r.Err != nil && !failing {
			report(r)
		}
		failing = r.Err != nil
	}
}

// receiveEvents sends on changed when the table may have changed, until the
// socket closes.
func (t *Table) receiveEvents(ctx context.Context, events *netlink.Conn, changed chan<- struct{}) error {
	for {
		messages, err := events.Receive()
		foreign := false
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS):
			// The record of our transactions is lost as well.
			t.pending.watch(true)
			foreign = true
			time.Sleep(overflowPause)
		case err != nil:
			return err
		}
		for _, m := range messages {
			foreign = t.pending.foreign(m) || foreign
		}
		if foreign {
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	}
}
