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
	// retry is the time between two attempts to make the table anew, if the
	// kernel refuses it, or a part of what was granted.
	retry = 100 * time.Millisecond
	// overflowPause is the time between two looks while the kernel tells of so
	// many changes that some are lost.
	overflowPause = 20 * time.Millisecond
)

// Keep makes the table anew whenever another program has removed or changed it,
// until the context ends; then it returns nil. It waits for what the kernel
// tells of changes (NFNLGRP_NFTABLES), and looks at the table only after one
// that is not ours, or if the kernel had to leave some out. It reports each
// repair, and once what keeps it from one. It returns an *OwnedError if another
// process has claimed the table: then this one has lost it, as all methods say.
//
// The network is that of the thread that calls it. At most one Keep runs.
func (t *Table) Keep(ctx context.Context, report func(Repair)) error {
	events, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{Groups: 1 << (unix.NFNLGRP_NFTABLES - 1)})
	if err != nil {
		return fmt.Errorf("hear of changes to the firewall: %w", explain(err))
	}
	defer events.Close()
	if err := events.SetReadBuffer(bufferSize); err != nil {
		return fmt.Errorf("hear of changes to the firewall: %w", err)
	}
	t.own.watch(true)
	defer t.own.watch(false)
	changed := make(chan struct{}, 1)
	changed <- struct{}{} // what came before this has been told to nobody
	heard := make(chan error, 1)
	go func() { heard <- t.hear(ctx, events, changed) }()
	defer func() {
		events.Close()
		<-heard
	}()

	failing := false
	again := time.NewTimer(0)
	again.Stop()
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-heard:
			heard <- err
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("hear of changes to the firewall: %w", err)
		case <-changed:
		case <-again.C:
		}
		r, err := t.Restore()
		if taken := (*OwnedError)(nil); errors.As(err, &taken) {
			return taken
		}
		r.Err = errors.Join(err, r.Err)
		if r.Err != nil {
			again.Reset(retry)
		}
		if r.Fault != "" || r.Err != nil && !failing {
			report(r)
		}
		failing = r.Err != nil
	}
}

// hear says on changed that the table may have changed, until the socket closes.
func (t *Table) hear(ctx context.Context, events *netlink.Conn, changed chan<- struct{}) error {
	for {
		messages, err := events.Receive()
		foreign := false
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS):
			// Which transactions were ours is lost as well.
			t.own.watch(true)
			foreign = true
			time.Sleep(overflowPause)
		case err != nil:
			return err
		}
		for _, m := range messages {
			foreign = t.own.foreign(m) || foreign
		}
		if foreign {
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	}
}
