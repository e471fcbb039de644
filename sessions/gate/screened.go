package gate

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"sallyport/sessions/gate/screen"
)

// screened says whom the kernel has to let through for a door.
func (a *admitted) screened() (s screen.Set) {
	for addr := range a.until {
		switch {
		case addr == Everyone:
			s.All = true
		case a.grain != 64 || addr.Is4() || addr.IsLinkLocalUnicast():
			s.Addresses = append(s.Addresses, addr)
		default:
			s.Nets = append(s.Nets, netip.PrefixFrom(addr, 64))
		}
	}
	return s
}

// listenScreened listens for nobody as yet.
func listenScreened(network, address string) (net.Listener, error) {
	lc := net.ListenConfig{Control: screen.Closed}
	lc.SetMultipathTCP(false) // such a socket takes no filter
	return lc.Listen(context.Background(), network, address)
}

func listenPacketScreened(address string) (*net.UDPConn, error) {
	c, err := (&net.ListenConfig{Control: screen.Closed}).ListenPacket(context.Background(), "udp", address)
	if err != nil {
		return nil, err
	}
	conn, ok := c.(*net.UDPConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("%s: not a UDP socket", address)
	}
	return conn, nil
}
