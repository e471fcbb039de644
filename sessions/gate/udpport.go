package gate

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/sockfilter"
)

// udpPort is a random port of a UDP enforcer: a socket with one flow. The
// socket lasts as long as the flow, and receives only its datagrams.
type udpPort struct {
	conn *net.UDPConn
	now  func() time.Time

	mu       sync.Mutex // locked last, even while the relay holds its lock
	admitted access.Set // the one peer, or any; empty: none
	state    PortState
}

// OpenPort implements PortOpener.
func (u *UDP) OpenPort(port uint16, peer access.Peer, until time.Time) (RandomPort, error) {
	address, err := withPort(u.cfg.Listen, port)
	if err != nil {
		return nil, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return nil, ErrClosed
	}
	conn, err := listenPacketDenyAll(address)
	if err != nil {
		return nil, wrapBindError(err)
	}
	p := &udpPort{conn: conn, now: u.cfg.Clock.Boot}
	if err := p.Admit(peer, until); err != nil {
		conn.Close()
		return nil, err
	}
	u.ports[p] = true
	go u.servePort(p) // ends with the socket, which ends with its flow
	return p, nil
}

// Admit implements Admitter.
func (p *udpPort) Admit(peer access.Peer, until time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != PortWaiting {
		return nil
	}
	p.admitted.Clear()
	for _, admitted := range peer.Admitted() {
		p.admitted.Put(admitted, until)
	}
	return new(filterState).apply(p.conn, 1, func() sockfilter.Set { return filterSet(&p.admitted) })
}

func (u *UDP) servePort(p *udpPort) {
	u.relay.ServeSingleFlow(p.conn, p.allows, p.begins)
	p.set(PortOver)
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.ports, p)
}

// allows reports whether an address may begin the flow. The relay calls it.
func (p *udpPort) allows(from netip.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state == PortWaiting && p.admitted.Allows(access.Numbered(from), p.now())
}

func (p *udpPort) begins() {
	p.mu.Lock()
	defer p.mu.Unlock()
	// If the port has ended since the call of allows, closing the socket ends
	// the flow.
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
	if p.state == PortWaiting && datagramsWait(p.conn) {
		return PortUsed
	}
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
