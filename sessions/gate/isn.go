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

// errNoISN is the error of a grant without a number at a service that requires one.
var errNoISN = errors.New("the grant has no initial sequence number")

// peerOf returns the peer that a grant admits; an invalid one, if the grant has no
// address, or lacks the number that the service requires, or its drawn port cannot be
// opened.
func (s *Service) peerOf(g sessions.Grant) (access.Peer, error) {
	p := access.PeerOf(g.Address, s.prefixLen6)
	if !p.IsValid() {
		return p, errors.New("a grant without an address")
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
