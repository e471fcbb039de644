package heldport

import (
	"errors"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// addressGroups are the events of addresses that come and go.
const addressGroups = unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR

// lookPause is how long a change of the host's addresses may go unnoticed that
// the kernel did not report.
const lookPause = 10 * time.Second

// OnAddresses calls f when the host's addresses may have changed, and each
// lookPause, until done is closed.
func OnAddresses(done <-chan struct{}, f func()) {
	events := make(chan struct{}, 1)
	if c, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: addressGroups}); err == nil {
		defer c.Close()
		go func() {
			for {
				if _, err := c.Receive(); err != nil && !lost(err) {
					return // closed
				}
				select {
				case events <- struct{}{}:
				default:
				}
			}
		}()
	}
	tick := time.NewTicker(lookPause)
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

// lost reports whether an error says that events were lost: more will come.
func lost(err error) bool { return errors.Is(err, unix.ENOBUFS) }
