//go:build !linux && !darwin

package client

import (
	"context"
	"net"
	"net/netip"
	"time"

	"sallyport/verify/wire"
)

// dialling is a connection that the client has begun.
type dialling struct {
	local  netip.Addr // of this computer; invalid: not known
	begun  time.Time
	stop   context.CancelFunc
	ended  chan struct{}
	conn   net.Conn // valid after ended
	failed error
}

// dial begins a connection to a service, and does not wait for it.
func dial(service netip.AddrPort, _ wire.ISN) (*dialling, error) {
	ctx, cancel := context.WithCancel(context.Background())
	d := &dialling{begun: time.Now(), stop: cancel, ended: make(chan struct{})}
	go func() {
		defer close(d.ended)
		// Without keepalive, since its times could not be set back to those of the system.
		dialer := net.Dialer{KeepAlive: -1}
		dialer.SetMultipathTCP(false)
		d.conn, d.failed = dialer.DialContext(ctx, "tcp", service.String())
	}()
	return d, nil
}

// wait waits for the answer of the service.
func (d *dialling) wait() error {
	<-d.ended
	return d.failed
}

// finish returns the connection. The caller must not use d afterwards.
func (d *dialling) finish() (*net.TCPConn, error) { return d.conn.(*net.TCPConn), nil }

// close abandons the connection.
func (d *dialling) close() {
	if d == nil {
		return
	}
	d.stop()
	go func() {
		if <-d.ended; d.conn != nil {
			d.conn.Close()
		}
	}()
}
