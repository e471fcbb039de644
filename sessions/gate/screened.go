package gate

import (
	"context"
	"fmt"
	"net"
	"syscall"

	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/sockfilter"
)

// screenSet returns whom the kernel has to let through for an enforcer.
func screenSet(in *access.Set) (s sockfilter.Set) {
	for p := range in.Peers() {
		switch {
		case p.IsAnyone():
			// The filter does not tell families apart; the enforcer does.
			s.All = true
		case p.Prefix.IsSingleIP():
			s.Addresses = append(s.Addresses, p.Prefix.Addr())
		default:
			s.Nets = append(s.Nets, p.Prefix)
		}
	}
	return s
}

// cover is the filter of an enforcer's socket.
type cover struct {
	full int // so many were too many for it, and all are let through; 0: it holds them
}

// draw tells the kernel who may come in, of whom there are n.
func (c *cover) draw(socket syscall.Conn, n int, set func() sockfilter.Set) error {
	if c.full > 0 && n >= c.full {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	fits, err := sockfilter.Attach(raw, set())
	if err != nil {
		return fmt.Errorf("screen the socket: %w", err)
	}
	if c.full = 0; !fits {
		c.full = max(n, 1)
	}
	return nil
}

// listenScreened listens for nobody as yet.
func listenScreened(network, address string) (net.Listener, error) {
	lc := net.ListenConfig{Control: sockfilter.DenyAll}
	lc.SetMultipathTCP(false) // such a socket takes no filter
	return lc.Listen(context.Background(), network, address)
}

func listenPacketScreened(address string) (*net.UDPConn, error) {
	c, err := (&net.ListenConfig{Control: sockfilter.DenyAll}).ListenPacket(context.Background(), "udp", address)
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
