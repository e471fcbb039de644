package hostevents

import (
	"errors"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Kinds are the kinds of events.
type Kinds uint32

const (
	Addresses Kinds = unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR
	Links     Kinds = unix.RTMGRP_LINK
)

// settleTime collects events: a link that comes makes several.
const settleTime = 10 * time.Millisecond

// Watch calls f when there may have been events of these kinds, until done is closed. It
// also calls f after each interval: not every change makes an event, and where the host
// forbids this socket, none does.
func Watch(done <-chan struct{}, kinds Kinds, interval time.Duration, f func()) {
	events := make(chan struct{}, 1)
	if c, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: uint32(kinds)}); err == nil {
		defer c.Close()
		go receive(c, events)
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-events:
			select {
			case <-done:
				return
			case <-time.After(settleTime):
			}
		case <-tick.C:
		}
		f()
	}
}

// receive reports events until the socket is closed. After a loss of some, others
// follow.
func receive(c *netlink.Conn, events chan<- struct{}) {
	for {
		if _, err := c.Receive(); err != nil && !errors.Is(err, unix.ENOBUFS) {
			return
		}
		select {
		case events <- struct{}{}:
		default:
		}
	}
}
