package gate

import (
	"errors"

	"sallyport/sessions"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// A service that requires initial sequence numbers has a lease for each attempt:
// its peer is the address together with the number. An attempt never extends the
// lease of another one. The maximum of addresses of a client limits these leases,
// and so the elements in the kernel.

// errSpread is the error of a grant whose knocks came from addresses that a lease of the
// service does not have in common.
var errSpread = errors.New("the knocks came from several addresses, and the service opens for fewer")

// errNoISN is the error of a grant without a number at a service that requires one.
var errNoISN = errors.New("the grant has no initial sequence number")

// peerOf returns the peer that a grant admits; an invalid one, if the grant has no
// address, or lacks the number that the service requires, or its drawn port cannot be
// opened.
func (s *Service) peerOf(g sessions.Grant, any bool) (access.Peer, error) {
	if any {
		return access.AnyAddress, s.opensToAny()
	}
	p := access.PeerIn(g.Address, s.prefixLen4, s.prefixLen6)
	switch {
	case !p.IsValid():
		return p, errors.New("a grant without an address")
	case !s.covers(g):
		return access.Peer{}, errSpread
	}
	if s.requireISN {
		if p.ISN = g.ISN; p.ISN == 0 {
			return access.Peer{}, errNoISN
		}
	}
	if s.rotation != nil {
		var err error
		if p.Port, err = s.rotation.Port(g.Minute, g.PortSecret); err != nil {
			return access.Peer{}, err
		}
	}
	return p, nil
}

// covers reports whether one lease of the service has all addresses from which the
// knocks of a grant came.
func (s *Service) covers(g sessions.Grant) bool { return g.Within(s.prefixLen4, s.prefixLen6) }

// Covers reports whether a service opens for the addresses of a grant: see Open.
func (s *Services) Covers(id access.ServiceID, g sessions.Grant) bool {
	i, ok := s.places[id]
	return ok && !s.list[i].elsewhere && s.list[i].covers(g)
}

// RemoveFrom ends the leases of a client from the address of a peer, whatever their
// sequence numbers and drawn ports, and returns them.
func (l *Leases) RemoveFrom(id wire.Identifier, p access.Peer) (gone []ended) {
	var peers []access.Peer
	for _, le := range l.byClient[id] {
		if le.peer.Source() == p.Source() {
			peers = append(peers, le.peer)
		}
	}
	for _, peer := range peers {
		if over, some := l.remove(id, peer); some {
			gone = append(gone, over)
		}
	}
	return gone
}
