package knocktime

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/verify/challenge"
)

// client knocks from one port, on which it receives the challenge.
type client struct{ socket *net.UDPConn }

func (l *Link) openClient() (c client, err error) {
	err = l.client.Do(func() error {
		c.socket, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(clientAddress, 0)))
		if err != nil {
			return fmt.Errorf("open the client's socket: %w", err)
		}
		return withoutChecksum(c.socket)
	})
	return c, err
}

// withoutChecksum disables UDP checksums. A veth leaves them to the network card,
// which it does not have, so behind the relay they would be wrong.
func withoutChecksum(c *net.UDPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_NO_CHECK, 1)
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("send without checksums: %w", err)
	}
	return nil
}

func (c client) exchange(codecs codecs, m messages) (challenge []byte, err error) {
	if err := c.knock(codecs.request, m.requestPorts); err != nil {
		return nil, fmt.Errorf("send the request: %w", err)
	}
	buffer := make([]byte, challengeBytes+1)
	n, _, err := c.socket.ReadFromUDPAddrPort(buffer)
	if err != nil {
		return nil, fmt.Errorf("wait for the challenge: %w", err)
	}
	if err := c.knock(codecs.response, m.responsePorts); err != nil {
		return nil, fmt.Errorf("send the response: %w", err)
	}
	return buffer[:n], nil
}

// knock sends a message. Without a delay, the queue of the link paces the packets.
// A delay begins when the link has sent the previous packet. The socket does not
// report that, so the client adds the transmission time of a packet.
func (c client) knock(codec *challenge.Codec, ports []uint16) error {
	next := time.Now()
	for _, p := range ports {
		if codec.Delay() > 0 {
			sleepUntil(next)
			next = time.Now().Add(knockTime + codec.Delay())
		}
		if _, err := c.socket.WriteToUDPAddrPort(nil, netip.AddrPortFrom(serverAddress, p)); err != nil {
			return fmt.Errorf("knock at port %d: %w", p, err)
		}
	}
	return nil
}
