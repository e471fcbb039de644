package proofs

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// The time from the begin of a load to its window.
const (
	settling     = 100 * time.Millisecond
	bulkSettling = 300 * time.Millisecond // until TCP's windows have grown
)

// load is what the clients do during a window.
type load struct {
	name     string
	clients  int  // at a time
	transfer byte // download or upload; 0: short connections
}

// The loads. The bulk connections are few, and all stand before the window begins.
var loads = []load{
	{name: "1 at a time", clients: 1},
	{name: "64 at a time", clients: clients},
	{name: "4 connections, to the client", clients: 4, transfer: download},
	{name: "4 connections, to the upstream", clients: 4, transfer: upload},
}

func (l load) settling() time.Duration {
	if l.transfer != 0 {
		return bulkSettling
	}
	return settling
}

// running is a load that runs.
type running struct {
	count *atomic.Uint64 // connections, or bytes
	stop  func() error   // returns the first error
}

// begin begins a load at a service. The clients have leases.
func (l load) begin(all []*knocker, s service, up *upstream) (running, error) {
	if l.transfer != 0 {
		return l.beginBulk(all, s, up)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var count atomic.Uint64
	var each sync.WaitGroup
	errs := make(chan error, l.clients)
	for _, k := range all[:l.clients] {
		each.Go(func() {
			for ctx.Err() == nil {
				if err := k.short(s); err != nil {
					errs <- fmt.Errorf("a short connection: %w", err)
					return
				}
				count.Add(1)
			}
		})
	}
	return running{&count, func() error {
		cancel()
		each.Wait()
		close(errs)
		return <-errs
	}}, nil
}

func (l load) beginBulk(all []*knocker, s service, up *upstream) (running, error) {
	var conns []net.Conn
	var each sync.WaitGroup
	stop := func() error {
		for _, c := range conns {
			c.Close()
		}
		each.Wait()
		return nil
	}
	count := new(atomic.Uint64)
	if l.transfer == upload {
		count = &up.received
	}
	for _, k := range all[:l.clients] {
		c, err := k.connect(s, l.transfer)
		if err == nil {
			conns = append(conns, c)
			err = c.SetDeadline(time.Time{})
		}
		if err != nil {
			stop()
			return running{}, fmt.Errorf("a long connection: %w", err)
		}
		each.Go(func() {
			if l.transfer == upload {
				send(c)
			} else {
				receive(c, count)
			}
		})
	}
	return running{count, stop}, nil
}
