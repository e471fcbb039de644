package gate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// pairTime is in which time this host must connect to itself.
const pairTime = 5 * time.Second

// Link is a connection of this host with itself, for one tunnel.
type Link struct{ near, far *net.TCPConn } // the ends for the tunnel, and for the Handler

// NewLink makes a Link, over IPv4, or over IPv6 if the host has no other. Another user of
// the host who fills the port meanwhile can delay it for pairTime: call it without a lock
// that others wait for.
func NewLink() (*Link, error) {
	near, far, err := loopbackPair()
	if err != nil {
		return nil, err
	}
	return &Link{near, far}, nil
}

// Close resets both ends of a Link that Services.Tunnel has not taken.
func (l *Link) Close() {
	reset(l.near)
	reset(l.far)
}

// loopbackPair returns both ends of a connection of this host with itself.
func loopbackPair() (near, far *net.TCPConn, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		if l, err = net.Listen("tcp", "[::1]:0"); err != nil {
			return nil, nil, fmt.Errorf("listen on the loopback: %w", err)
		}
	}
	defer l.Close()
	until := time.Now().Add(pairTime)
	l.(*net.TCPListener).SetDeadline(until)
	ctx, cancel := context.WithDeadline(context.Background(), until)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	if err != nil {
		return nil, nil, fmt.Errorf("connect to the loopback: %w", err)
	}
	near = c.(*net.TCPConn)
	for {
		a, err := l.Accept()
		if err != nil {
			reset(near)
			return nil, nil, fmt.Errorf("accept on the loopback: %w", err)
		}
		// Any user of this host can connect: only our own connection counts.
		if a.RemoteAddr().String() == near.LocalAddr().String() {
			return near, a.(*net.TCPConn), nil
		}
		reset(a)
		if time.Now().After(until) {
			reset(near)
			return nil, nil, errors.New("other users fill the port of the loopback")
		}
	}
}
