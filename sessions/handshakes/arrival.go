package handshakes

import "net/netip"

// Arrival is an empty packet. A client may spread the packets of its messages over several
// gateways, which hand them to one of them (package relay): the coordinator of the source.
// Only that one answers.
//
// The challenge goes from an address and port at which this host has received a packet of
// the request, back to that packet's source: a NAT has an entry for these, and for no
// other. So a request of which this host received no packet is not answered here.
type Arrival struct {
	Source netip.AddrPort
	// Destination has no address if another gateway has received the packet.
	Destination netip.AddrPort
	// Number is that of a packet that this host received (capture.Packet), for AnswerEarlier.
	Number uint64
	// Elsewhere: another gateway coordinates the source, and counts lost messages.
	Elsewhere bool
}

// relayed reports whether another gateway has received the packet.
func (a Arrival) relayed() bool { return !a.Destination.Addr().IsValid() }

// took records that a packet belongs to the request of a slot, also a duplicate.
func (s *slot) took(p packet) {
	if p.arrival.relayed() {
		s.split = true
	} else {
		s.direct = p.arrival
	}
}
