package gate

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/sockfilter"
)

// udpPort is a random port of a UDP enforcer: a socket with one flow. The socket
// lasts as long as the flow, and hears nobody else.
type udpPort struct {
	conn *net.UDPConn
	in   access.Set // the one peer; it does not change
	now  func() time.Time

	mu    sync.Mutex // taken last, also while the relay holds its own lock
	state PortState
}

// OpenPort implements PortOpener.
func (u *UDP) OpenPort(port uint16, peer access.Peer, until time.Time) (RandomPort, error) {
	address, err := beside(u.cfg.Listen, port)
	if err != nil {
		return nil, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.shut {
		return nil, ErrClosed
	}
	conn, err := listenPacketScreened(address)
	if err != nil {
		return nil, taken(err)
	}
	p := &udpPort{conn: conn, now: u.cfg.Clock.Boot}
	p.in.Put(peer, until)
	if err := new(cover).draw(conn, 1, func() sockfilter.Set { return screenSet(&p.in) }); err != nil {
		conn.Close()
		return nil, err
	}
	u.ports[p] = true
	go u.servePort(p) // ends with the socket, and that with its flow
	return p, nil
}

func (u *UDP) servePort(p *udpPort) {
	u.relay.ServeSingleFlow(p.conn, p.allows, p.begins)
	p.set(PortOver)
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.ports, p)
}

// allows is asked by the relay for the first flow.
func (p *udpPort) allows(from netip.Addr) bool {
	return p.State() == PortWaiting && p.in.Allows(access.Numbered(from), p.now())
}

func (p *udpPort) begins() {
	p.mu.Lock()
	defer p.mu.Unlock()
	// Should it have ended since allows was asked, the socket ends the flow.
	if p.state == PortWaiting {
		p.state = PortUsed
	}
}

func (p *udpPort) set(s PortState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = s
}

// State implements RandomPort.
func (p *udpPort) State() PortState {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

// End implements RandomPort.
func (p *udpPort) End(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if cut || p.state == PortWaiting {
		p.state = PortOver
		p.conn.Close()
	}
}
