package flood

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"

	"sallyport/bench/netns"
)

// Neighbour is a host that sends packets to the server's host over a virtual
// cable. The server's host is the caller's namespace, in which it must be alone.
// Packets of the server to addresses that no host has also go to the neighbour,
// and are lost.
type Neighbour struct {
	Host  *netns.Host
	Link  Link
	index int // of its interface
}

// NewNeighbour creates the host and the cable. The addresses have the prefix
// length bits. The new host has the address other, and the further addresses.
func NewNeighbour(server, other netip.Addr, bits int, further ...netip.Addr) (n *Neighbour, err error) {
	n = new(Neighbour)
	if n.Host, err = netns.New(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			n.Close()
		}
	}()
	within := func(a netip.Addr) string { return netip.PrefixFrom(a, bits).String() }
	addresses := []string{within(other)}
	for _, a := range further {
		addresses = append(addresses, within(a))
	}
	near := netns.End{Name: "server", Addresses: []string{within(server)}}
	if _, err := netns.Join(near, n.Host, netns.End{Name: "away", Addresses: addresses}); err != nil {
		return nil, err
	}
	here, err := net.InterfaceByName("server")
	if err != nil {
		return nil, err
	}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: here.Index, Gw: other.AsSlice()}); err != nil {
		return nil, fmt.Errorf("add a default route to the other host: %w", err)
	}
	n.Link.To, n.Link.Host = here.HardwareAddr, server
	return n, n.Host.Do(func() error {
		there, err := net.InterfaceByName("away")
		if err != nil {
			return err
		}
		n.Link.From, n.index = there.HardwareAddr, there.Index
		return nil
	})
}

// Play plays a stream from the host, with one core.
func (n *Neighbour) Play(ctx context.Context, core int, s Stream) (sent Sent, err error) {
	err = n.Host.Do(func() error {
		g, err := NewPacket(n.index, core)
		if err != nil {
			return err
		}
		defer g.Close()
		sent, err = g.Play(ctx, s)
		return err
	})
	return sent, err
}

// Close removes the host, and with it the cable.
func (n *Neighbour) Close() { n.Host.Close() }
