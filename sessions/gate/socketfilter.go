package gate

import (
	"context"
	"fmt"
	"net"
	"syscall"

	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/sockfilter"
)

// filterSet returns the peers that the kernel must let through for an enforcer.
func filterSet(in *access.Set) (s sockfilter.Set) {
	for p := range in.Peers() {
		switch {
		case p.IsAnyone():
			// The filter does not distinguish families; the enforcer does.
			s.Anyone = true
		case p.Prefix.IsSingleIP():
			s.Addresses = append(s.Addresses, p.Prefix.Addr())
		default:
			s.Nets = append(s.Nets, p.Prefix)
		}
	}
	return s
}

// filterState is the state of the filter of an enforcer's socket.
type filterState struct {
	overflowAt int // this many peers did not fit, and the filter lets all through; 0: they fit
}

// apply sets the filter for n admitted peers, which set returns.
func (f *filterState) apply(socket syscall.Conn, n int, set func() sockfilter.Set) error {
	if f.overflowAt > 0 && n >= f.overflowAt {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	fits, err := sockfilter.Attach(raw, set())
	if err != nil {
		return fmt.Errorf("attach the socket filter: %w", err)
	}
	if f.overflowAt = 0; !fits {
		f.overflowAt = max(n, 1)
	}
	return nil
}

// listenDenyAll listens with a filter that lets no peer through.
func listenDenyAll(network, address string) (net.Listener, error) {
	lc := net.ListenConfig{Control: sockfilter.DenyAll}
	lc.SetMultipathTCP(false) // such a socket accepts no filter
	return lc.Listen(context.Background(), network, address)
}

func listenPacketDenyAll(address string) (*net.UDPConn, error) {
	c, err := (&net.ListenConfig{Control: sockfilter.DenyAll}).ListenPacket(context.Background(), "udp", address)
	if err != nil {
		return nil, err
	}
	conn, ok := c.(*net.UDPConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("listen at %s: expected a UDP socket, got %T", address, c)
	}
	return conn, nil
}
