package fleet

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/ipv4"

	"sallyport/sessions/client"
)

const (
	ports         = 3
	clientNetwork = "198.18.0.0/15"
	firstNonce    = 10 // above those of the records that are in etcd at the start
	// knocking is how many clients knock. Those with an even number may open the service of
	// this gateway only, the others that of all.
	knocking = 10_000
)

var firstAddress = netip.MustParseAddr("198.18.0.0")

// clients are the clients that knock, each from a separate address. One goroutine at a time may
// use them.
type clients struct {
	profiles []client.Profile
	nonces   []uint32 // the next ones
	next     [2]int   // the next client with a local service, and the next one of the others
	conn     *net.UDPConn
}

func newClients(profiles []client.Profile) (*clients, error) {
	conn, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return nil, fmt.Errorf("open the socket of the clients: %w", err)
	}
	c := &clients{profiles: profiles, nonces: make([]uint32, len(profiles)), conn: conn}
	for i := range c.nonces {
		c.nonces[i] = firstNonce
	}
	return c, nil
}

// address returns the address of a client.
func address(i int) netip.Addr {
	b := firstAddress.As4()
	n := i + 1
	return netip.AddrFrom4([4]byte{b[0], b[1] + byte(n>>16), byte(n >> 8), byte(n)})
}

// knock sends the knocks of the next client to a gateway, and returns its address, and when
// it sent the last one.
func (c *clients) knock(all bool, gateway netip.Addr) (from netip.Addr, sent time.Time, err error) {
	kind := 0
	if all {
		kind = 1
	}
	half := len(c.profiles) / 2
	i := 2*c.next[kind] + kind
	c.next[kind] = (c.next[kind] + 1) % half
	packets, err := client.Sequence(c.profiles[i], time.Now(), c.nonces[i])
	if err != nil {
		return from, sent, fmt.Errorf("make knocks: %w", err)
	}
	c.nonces[i] += uint32(len(packets))
	from = address(i)
	control := (&ipv4.ControlMessage{Src: from.AsSlice()}).Marshal()
	for _, p := range packets {
		sent = time.Now()
		to := netip.AddrPortFrom(gateway, p.Port)
		if _, _, err := c.conn.WriteMsgUDPAddrPort(p.Datagram, control, to); err != nil {
			return from, sent, fmt.Errorf("send a knock: %w", err)
		}
	}
	return from, sent, nil
}
