//go:build !linux && !darwin

package client

import (
	"context"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"sallyport/sessions/syserror"
)

// holdPort holds no port: the system chooses one for each SYN, and the server combines
// the packets by their address.
func holdPort(netip.Addr) (netip.AddrPort, io.Closer) { return netip.AddrPort{}, nil }

func reusePort(string, string, syscall.RawConn) error { return nil }

// synTime is how long a connection lives: the system has sent the SYN, and a second
// later it would send it again.
const synTime = 20 * time.Millisecond

// sendSYN sends one SYN: it begins a connection, and abandons it.
func sendSYN(_, to netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(context.Background(), synTime)
	defer cancel()
	begun := make(chan struct{})
	d := net.Dialer{Control: func(string, string, syscall.RawConn) error {
		close(begun)
		return nil
	}}
	result := make(chan error, 1)
	go func() {
		c, err := d.DialContext(ctx, "tcp", to.String())
		if err == nil {
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
		}
		result <- err
	}()
	select {
	case <-begun: // the next SYN need not wait for the end of this connection
	case err := <-result:
		if err != nil && !timedOut(err) && !syserror.Refused.In(err) {
			return err
		}
	}
	time.Sleep(time.Millisecond) // connect follows Control
	return nil
}
