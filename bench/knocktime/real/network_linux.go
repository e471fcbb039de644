package real

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"sallyport/bench/netns"
)

// lanes is how many clients can knock at the same time, each with its own address,
// its own line, and its own address of the server.
const lanes = 120

// The addresses are those for benchmarks (RFC 2544); the last byte is the lane.
func clientAddress(lane int) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, 2, byte(lane + 1)}) }
func serverAddress(lane int) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, 1, byte(lane + 1)}) }

var (
	nearAddress = netip.MustParseAddr("198.18.2.254")
	farAddress  = netip.MustParseAddr("198.18.1.254")
)

// laneOf returns the lane of an address of the server.
func laneOf(last byte) (lane int, ok bool) { return int(last) - 1, last >= 1 && last <= lanes }

// network is two hosts with the relay between them. No other host is connected.
type network struct {
	client, middle, server *netns.Host
	relay                  *relay
	service                net.Listener // on the server's host, behind its firewall
}

// newNetwork creates a network, whose relay uses a core. It requires root in the
// caller's namespaces, and changes nothing in the caller's network namespace.
func newNetwork(core int) (n *network, err error) {
	n = &network{}
	defer func() {
		if err != nil {
			n.close()
			n = nil
		}
	}()
	for _, h := range []**netns.Host{&n.client, &n.middle, &n.server} {
		if *h, err = netns.New(); err != nil {
			return n, err
		}
	}
	err = n.middle.Do(func() error {
		// The relay forwards, not the kernel.
		if err := sysctl("net/ipv4/ip_forward", "0"); err != nil {
			return err
		}
		near, err := join(n.client, "near", "client", nearAddress, clientAddress)
		if err != nil {
			return err
		}
		far, err := join(n.server, "far", "server", farAddress, serverAddress)
		if err != nil {
			near.close()
			return err
		}
		n.relay, err = startRelay(near, far, core)
		return err
	})
	if err == nil {
		err = n.client.Do(routeLanes)
	}
	if err == nil {
		err = n.server.Do(func() error {
			// The paper's host does not answer a knock at a closed port; the ICMP errors
			// would delay the challenge on a slow line. The limit is one in an hour to an
			// address. A new address has a credit of a minute, which is not enough for one.
			if err := sysctl("net/ipv4/icmp_ratelimit", "3600000"); err != nil {
				return err
			}
			if err := route(clientAddress(0), 24, farAddress, netip.Addr{}); err != nil {
				return err
			}
			n.service, err = net.Listen("tcp4", fmt.Sprint(":", servicePort))
			return err
		})
	}
	if err != nil {
		err = fmt.Errorf("create a network: %w", err)
	}
	return n, err
}

// close removes the network. Packets on the way are lost.
func (n *network) close() error {
	var errs []error
	if n.service != nil {
		errs = append(errs, n.service.Close())
	}
	if n.relay != nil {
		errs = append(errs, n.relay.close())
	}
	for _, h := range []*netns.Host{n.client, n.middle, n.server} {
		if h != nil {
			errs = append(errs, h.Close())
		}
	}
	return errors.Join(errs...)
}
