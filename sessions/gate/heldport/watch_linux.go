package heldport

import (
	"errors"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// addressGroups are the events of added and removed addresses.
const addressGroups = unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR

// pollInterval is the maximum time until OnAddresses detects a change of
// addresses that the kernel did not report.
const pollInterval = 10 * time.Second

// OnAddresses calls f when the host's addresses may have changed, and every
// pollInterval, until done is closed.
func OnAddresses(done <-chan struct{}, f func()) {
	events := make(chan struct{}, 1)
	if c, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: addressGroups}); err == nil {
		defer c.Close()
		go func() {
			for {
				if _, err := c.Receive(); err != nil && !eventsLost(err) {
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
		case <-tick.C:
		}
		f()
	}
}

// eventsLost reports whether an error means that events were lost; further ones
// will follow.
func eventsLost(err error) bool { return errors.Is(err, unix.ENOBUFS) }
