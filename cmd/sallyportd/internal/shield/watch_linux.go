package shield

import (
	"errors"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// groups are the events of links and addresses.
	groups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR
	// pollInterval is the maximum time until a change is noticed that the kernel did
	// not report, and after which an attempt to attach is repeated.
	pollInterval = 2 * time.Second
	// settleTime collects events: a link that comes makes several.
	settleTime = 10 * time.Millisecond
)

// watch calls f when links or addresses may have changed, and every pollInterval,
// until done is closed.
func watch(done <-chan struct{}, f func()) {
	events := make(chan struct{}, 1)
	if c, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: groups}); err == nil {
		defer c.Close()
		go func() {
			for {
				if _, err := c.Receive(); err != nil && !errors.Is(err, unix.ENOBUFS) {
					return // closed
				}
				select {
				case events <- struct{}{}:
				default:
				}
			}
		}()
	}
	tick := time.NewTicker(pollInterval)
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
