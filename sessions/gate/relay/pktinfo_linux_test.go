package relay

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"sallyport/bench/netns"
)

// TestAnswersUsePktInfo: on a host with several addresses, answers leave from
// the address that the datagram went to.
func TestAnswersUsePktInfo(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	h := netns.NewHost(t)
	netns.Connect(t, netns.End{Name: "left", Addresses: []string{"198.51.100.1/24", "198.51.100.9/24", "2001:db8::1/64", "2001:db8::9/64", "fe80::1/64"}}, h,
		netns.End{Name: "right", Addresses: []string{"198.51.100.2/24", "2001:db8::2/64", "fe80::2/64"}})
	upstream := echo(t, "127.0.0.1:0").LocalAddr().String()
	_, _, six := serve(t, UDPConfig{Upstream: Upstream(upstream)}, "[::]:0")
	_, _, four := serve(t, UDPConfig{Upstream: Upstream(upstream)}, "0.0.0.0:0")
	for _, test := range []struct {
		client string
		port   uint16
		to     []string // from one port of the client
	}{
		{"0.0.0.0:0", four.Port(), []string{"198.51.100.1", "198.51.100.9", "198.51.100.1"}},
		{"0.0.0.0:0", four.Port(), []string{"198.51.100.9"}},
		{"0.0.0.0:0", six.Port(), []string{"198.51.100.1", "198.51.100.9", "198.51.100.1"}},
		{"0.0.0.0:0", six.Port(), []string{"198.51.100.9"}},
		{"[::]:0", six.Port(), []string{"2001:db8::1", "2001:db8::9", "2001:db8::1"}},
		{"[::]:0", six.Port(), []string{"2001:db8::9"}},
		{"[::]:0", six.Port(), []string{"fe80::1%right", "2001:db8::9"}},
		{"[2001:db8::2]:0", six.Port(), []string{"fe80::1%right"}}, // only the interface shows which link
	} {
		err := h.Do(func() error {
			c, err := net.ListenPacket("udp", test.client)
			if err != nil {
				return err
			}
			defer c.Close()
			c.SetDeadline(netns.Deadline(t))
			for _, to := range test.to {
				at := netip.AddrPortFrom(netip.MustParseAddr(to), test.port)
				if err := asks(c.(*net.UDPConn), at); err != nil {
					return fmt.Errorf("%s: %w", at, err)
				}
			}
			return nil
		})
		if err != nil {
			t.Errorf("from %s: %v", test.client, err)
		}
	}
}

// asks sends a request, and expects the answer from its destination.
func asks(c *net.UDPConn, at netip.AddrPort) error {
	if _, err := c.WriteToUDPAddrPort([]byte("x"), at); err != nil {
		return err
	}
	_, from, err := c.ReadFromUDPAddrPort(make([]byte, 1))
	if err != nil {
		return err
	}
	if from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port()); from != at {
		return fmt.Errorf("the answer is from %s", from)
	}
	return nil
}
