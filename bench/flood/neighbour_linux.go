package flood

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"

	"sallyport/bench/netns"
)

// Neighbour is the other host of a cable, from which packets come: the server's
// host is the namespace that the caller is alone in. What the server sends to
// addresses that nobody has goes there too, and is lost.
type Neighbour struct {
	Host  *netns.Host
	Link  Link
	index int // of its interface
}

// NewNeighbour makes the other host, and the cable. Both hosts have their first
// address in a network of the given length, and the other one has the further
// addresses too.
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
	if _, err := netns.Join(netns.End{Name: "server", Addresses: []string{within(server)}}, n.Host, netns.End{Name: "away", Addresses: addresses}); err != nil {
		return nil, err
	}
	here, err := net.InterfaceByName("server")
	if err != nil {
		return nil, err
	}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: here.Index, Gw: other.AsSlice()}); err != nil {
		return nil, fmt.Errorf("route everything to the other host: %w", err)
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

// Play sends a stream from there, by a core.
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

// Close ends the other host, and with it the cable.
func (n *Neighbour) Close() { n.Host.Close() }
