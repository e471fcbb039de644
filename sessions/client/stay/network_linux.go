package stay

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// groups are those of the events that can change the way to an address.
	groups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE

	// collectTime is how long events are collected before the ways are looked up.
	collectTime = 100 * time.Millisecond
)

// watchNetwork is a watchFunc. Where the system does not allow the socket for events, as
// Android does for programs of users, it polls.
func watchNetwork(ctx context.Context, addresses <-chan []netip.Addr, changes chan<- struct{}) {
	events, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: groups})
	if err != nil {
		pollNetwork(ctx, addresses, changes)
		return
	}
	received, ended := make(chan []netlink.Message), make(chan struct{})
	go func() {
		defer close(ended)
		receive(ctx, events, received)
	}()
	defer func() {
		events.Close()
		<-ended
	}()
	find := sourceWay
	if routes, err := netlink.Dial(unix.NETLINK_ROUTE, nil); err == nil {
		defer routes.Close()
		find = func(to netip.Addr) way { return routedWay(routes, to) }
	}
	followRoutes(ctx, newWays(find), addresses, received, changes)
}

// followRoutes looks at the ways after events, and each tick without one.
func followRoutes(
	ctx context.Context, w *ways, addresses <-chan []netip.Addr, events <-chan []netlink.Message, changes chan<- struct{},
) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var collected <-chan time.Time
	for {
		changed := false
		select {
		case <-ctx.Done():
			return
		case to := <-addresses:
			changed = w.aim(to)
		case <-ticker.C:
			changed = w.look()
		case <-collected:
			collected, changed = nil, w.look()
		case messages := <-events:
			w.broken = w.broken || messages == nil || slices.ContainsFunc(messages, w.breaks)
			if collected == nil {
				collected = time.After(collectTime)
			}
		}
		if changed {
			offer(changes, struct{}{})
		}
	}
}

// receive sends the events of a socket until it is closed; nil: some were lost.
func receive(ctx context.Context, c *netlink.Conn, events chan<- []netlink.Message) {
	for {
		messages, err := c.Receive()
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			return
		}
		if err != nil {
			messages = nil
		}
		select {
		case events <- messages:
		case <-ctx.Done():
			return
		}
	}
}

// breaks reports whether an event removes a part of a way: its source address, its
// interface, or a route by that interface. If the part comes back at once, the network
// may still be another one, with the same addresses.
func (w *ways) breaks(m netlink.Message) bool {
	uses := func(link uint32) bool {
		return slices.ContainsFunc(w.found, func(w way) bool { return w.link != 0 && w.link == int(link) })
	}
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		if len(m.Data) < unix.SizeofIfInfomsg {
			return false
		}
		up := m.Header.Type == unix.RTM_NEWLINK && binary.NativeEndian.Uint32(m.Data[8:])&unix.IFF_RUNNING != 0
		return !up && uses(binary.NativeEndian.Uint32(m.Data[4:]))
	case unix.RTM_DELADDR:
		a := attributes(m, unix.SizeofIfAddrmsg)
		return slices.ContainsFunc(w.found, func(w way) bool {
			return w.source.IsValid() && (w.source == addressOf(a[unix.IFA_LOCAL]) || w.source == addressOf(a[unix.IFA_ADDRESS]))
		})
	case unix.RTM_DELROUTE:
		// The kernel has routes of other types for each address of an interface.
		if len(m.Data) < unix.SizeofRtMsg || m.Data[7] != unix.RTN_UNICAST || binary.NativeEndian.Uint32(m.Data[8:])&unix.RTM_F_CLONED != 0 {
			return false
		}
		link := attributes(m, unix.SizeofRtMsg)[unix.RTA_OIF]
		return len(link) == 4 && uses(binary.NativeEndian.Uint32(link))
	}
	return false
}

// routedWay asks the kernel for the way to an address.
func routedWay(c *netlink.Conn, to netip.Addr) way {
	if to.Zone() != "" {
		return sourceWay(to) // the zone chooses the interface
	}
	request := make([]byte, unix.SizeofRtMsg)
	request[0], request[1] = unix.AF_INET, 32
	if to.Is6() {
		request[0], request[1] = unix.AF_INET6, 128
	}
	e := netlink.NewAttributeEncoder()
	e.Bytes(unix.RTA_DST, to.AsSlice())
	destination, err := e.Encode()
	if err != nil {
		return way{}
	}
	replies, err := c.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETROUTE, Flags: netlink.Request}, Data: append(request, destination...),
	})
	if err != nil || len(replies) != 1 {
		return sourceWay(to)
	}
	a := attributes(replies[0], unix.SizeofRtMsg)
	found := way{source: addressOf(a[unix.RTA_PREFSRC]), gateway: addressOf(a[unix.RTA_GATEWAY])}
	if link := a[unix.RTA_OIF]; len(link) == 4 {
		found.link = int(binary.NativeEndian.Uint32(link))
	}
	return found
}

// attributes returns the attributes of a message, behind its header.
func attributes(m netlink.Message, header int) map[uint16][]byte {
	if len(m.Data) < header {
		return nil
	}
	d, err := netlink.NewAttributeDecoder(m.Data[header:])
	if err != nil {
		return nil
	}
	all := map[uint16][]byte{}
	for d.Next() {
		all[d.Type()] = d.Bytes()
	}
	return all
}

func addressOf(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a
}
