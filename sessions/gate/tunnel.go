package gate

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/prove"
	"sallyport/sessions/gate/relay"
	"sallyport/verify/wire"
)

// A tunnel is a connection that came another way than to the service's port, and that
// has proved, by a ticket, of which operation it is. It is like the connection of a random
// port: it belongs to its command, whatever happens to the leases of its address. Between
// the tunnel and the Handler is a connection of this host with itself, which can be
// closed by halves and reset as every other.

// untilClosed is how long a tunnel lasts whose command has no end.
const untilClosed = 10 * 365 * 24 * time.Hour

// Tunnel is a tunnel: *tunnel.Conn of verify/challenge implements it.
type Tunnel = relay.Tunnel

var (
	errNoTunnels = errors.New("the service takes no tunnels")
	errFull      = errors.New("the address, or all together, has as many connections as the service allows")
)

// Inlet takes the tunnels of a service. It is an enforcer that opens nothing for
// addresses: it ends connections with the rights, and with the leases, of their clients.
type Inlet struct {
	tcp  *TCP // without a socket: of it, only the connections and the Handler
	port uint16
}

// NewInlet returns the Inlet of a service. Of the configuration, PerAddress, PrefixLen4,
// PrefixLen6, Limits, Prover, Handler, Clock and Log apply: they are those of the enforcer
// of the service's own port. Programs learn the port as that to which the client
// connected.
func NewInlet(cfg TCPConfig, port uint16) *Inlet { return &Inlet{NewTCP(cfg), port} }

// Apply implements access.Enforcer.
func (i *Inlet) Apply([]access.Change) []error { return nil }

// Close implements access.Enforcer. It ends all tunnels.
func (i *Inlet) Close() error { return i.tcp.Close() }

// CutOff implements connOwners.
func (i *Inlet) CutOff(gone func(wire.Identifier) bool, some bool) { i.tcp.CutOff(gone, some) }

// Owners implements connOwners.
func (i *Inlet) Owners(f func(wire.Identifier)) { i.tcp.Owners(f) }

// Connections implements connCounter.
func (i *Inlet) Connections() int { return i.tcp.Connections() }

func (i *Inlet) setLeases(l prove.Leases) bool { return i.tcp.setLeases(l) }

func (i *Inlet) cutProved(gone func(wire.Identifier) bool, has prove.Leases) {
	i.tcp.cutProved(gone, has)
}

// Tunnel lets a tunnel in to the service of a command that opens. Carry carries it, and
// returns when it has ended: the caller must call it. The address of the command is the one
// that the tunnel comes from. If Tunnel returns an error, the service gets nothing, and the
// caller closes the tunnel and the link.
func (s *Services) Tunnel(c Command, t Tunnel, l *Link) (carry func(), err error) {
	i, err := s.place(c)
	if err != nil {
		return nil, err
	}
	return s.list[i].tunnel(c, t, l)
}

func (s *Service) tunnel(c Command, t Tunnel, l *Link) (carry func(), err error) {
	if s.inlet == nil || c.Action != Open || c.Port != 0 || !c.Grant.Address.IsValid() {
		return nil, fmt.Errorf("open %s: %w", s.Name, errNoTunnels)
	}
	p := &tunnelPort{inlet: s.inlet, conn: l.far, client: c.Grant.Identifier, from: access.Numbered(c.Grant.Address), remote: t.RemoteAddr(), local: s.inlet.destination(t.LocalAddr())}
	if err := s.admitTunnel(c, p); err != nil {
		return nil, err
	}
	return func() { relay.Bridge(t, l.near) }, nil
}

// admitTunnel makes a tunnel one of a command, or lets it prove itself.
func (s *Service) admitTunnel(c Command, p *tunnelPort) error {
	if s.proves {
		return p.prove() // without the lock, which s.holds takes
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	return s.openWay(c, func(peer access.Peer, until time.Time) (RandomPort, error) {
		if peer.IsValid() {
			return p, p.Admit(peer, until)
		}
		return p, nil
	})
}

// destination is the address of the service, for the PROXY protocol, of a tunnel that came
// to an address.
func (i *Inlet) destination(at net.Addr) net.Addr {
	to, ok := at.(*net.TCPAddr)
	if !ok {
		return at
	}
	a, _ := netip.AddrFromSlice(to.IP)
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(a.Unmap().WithZone(to.Zone), i.port))
}
