package fleet

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
)

// site is the network of a gateway: its host, and two links to this one.
type site struct {
	number int // from 1
	host   *netns.Host
	close  []func() error
}

// address is that to which clients send.
func (s *site) address() string { return fmt.Sprintf("10.7.%d.1", s.number) }

// newSite makes the network of a gateway. Without members, it has no link to etcd. A link
// that delays frames does so by half of the round trip in each direction.
func newSite(number, members int, trip time.Duration) (s *site, err error) {
	s = &site{number: number}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("make the network of a gateway: %w", err), s.remove())
		}
	}()
	if s.host, err = netns.New(); err != nil {
		return nil, err
	}
	s.close = append(s.close, s.host.Close)
	near := fmt.Sprintf("10.7.%d.254", number)
	clients, err := netns.Join(
		netns.End{Name: fmt.Sprintf("clients%d", number), Addresses: []string{near + "/24"}},
		s.host, netns.End{Name: "clients", Addresses: []string{s.address() + "/24"}},
	)
	if err != nil {
		return nil, err
	}
	s.close = append(s.close, func() error { return netlink.LinkDel(clients) })
	if err := s.host.Do(func() error { return netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP(near)}) }); err != nil {
		return nil, err
	}
	if members > 0 {
		return s, s.connect(members, trip)
	}
	return s, nil
}

// connect makes the link to etcd.
func (s *site) connect(members int, trip time.Duration) error {
	here, there := netns.End{Name: fmt.Sprintf("etcd%d", s.number)}, netns.End{Name: "etcd", Addresses: []string{fmt.Sprintf("10.8.%d.1/24", s.number)}}
	for m := range members {
		here.Addresses = append(here.Addresses, memberAddress(s.number, m)+"/24")
	}
	if trip == 0 {
		pair, err := netns.Join(here, s.host, there)
		if err == nil {
			s.close = append(s.close, func() error { return netlink.LinkDel(pair) })
		}
		return err
	}
	up, stopUp := netns.NewDelay(trip / 2)
	down, stopDown := netns.NewDelay(trip / 2)
	s.close = append(s.close, func() error { stopUp(); stopDown(); return nil })
	link, err := netns.JoinRelayed(here, s.host, there, up, down)
	if err == nil {
		s.close = append(s.close, link.Close)
	}
	return err
}

// remove removes the network.
func (s *site) remove() error {
	var errs []error
	for i := len(s.close) - 1; i >= 0; i-- {
		errs = append(errs, s.close[i]())
	}
	s.close = nil
	return errors.Join(errs...)
}

// routeClients makes all addresses of clients those of this host, without an interface
// that has them.
func routeClients() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find the loopback: %w", err)
	}
	_, all, err := net.ParseCIDR(clientNetwork)
	if err != nil {
		return err
	}
	err = netlink.RouteAdd(&netlink.Route{
		LinkIndex: lo.Attrs().Index, Dst: all, Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: netlink.SCOPE_HOST,
	})
	if err != nil {
		return fmt.Errorf("add a route for the clients: %w", err)
	}
	return nil
}
