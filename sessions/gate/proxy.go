package gate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"

	"sallyport/sessions/gate/relay"
)

// Proxy carries connections to an upstream, byte for byte. It implements
// Handler.
type Proxy struct {
	log    *slog.Logger
	relay  atomic.Pointer[relay.TCP]
	failed atomic.Bool // the last connection to the upstream failed
}

// NewProxy returns a proxy.
func NewProxy(r relay.TCP, log *slog.Logger) *Proxy {
	p := &Proxy{log: log}
	p.Update(r)
	return p
}

// Update changes the upstream for new connections.
func (p *Proxy) Update(r relay.TCP) { p.relay.Store(&r) }

// Serve implements Handler.
func (p *Proxy) Serve(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go p.carry(c)
	}
}

func (p *Proxy) carry(c net.Conn) {
	defer c.Close() // the relay has closed the connection below: this removes it from the enforcer
	below := c
	if tracked, ok := c.(*conn); ok {
		below = tracked.Conn
	}
	tcp, ok := below.(*net.TCPConn)
	if !ok {
		// Other connections support neither a half-close nor a reset.
		p.log.Warn("connection rejected: not TCP", "type", fmt.Sprintf("%T", below))
		return
	}
	r := *p.relay.Load()
	err := r.Carry(context.Background(), tcp)
	var unreachable *relay.UpstreamError
	failed := errors.As(err, &unreachable)
	if p.failed.Swap(failed) != failed && failed {
		p.log.Warn("upstream unreachable", "upstream", r.Upstream, "error", err)
	}
}
