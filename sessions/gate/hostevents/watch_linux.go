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
// forbids this socket, none does. Between two calls there is at least the pause, however
// many events there are.
func Watch(done <-chan struct{}, kinds Kinds, pause, interval time.Duration, f func()) {
	events := make(chan struct{}, 1)
	if c, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: uint32(kinds)}); err == nil {
		defer c.Close()
		go receive(c, events)
	}
	call(done, events, pause, interval, f)
}

// call calls f for Watch.
func call(done, events <-chan struct{}, pause, interval time.Duration, f func()) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for next := time.Now(); ; next = time.Now().Add(pause) {
		var settle time.Duration
		select {
		case <-done:
			return
		case <-events:
			settle = settleTime
		case <-tick.C:
		}
		select {
		case <-done:
			return
		case <-time.After(max(settle, time.Until(next))):
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
