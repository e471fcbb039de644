// Package relay hands the empty packets of exchanges from one gateway of a fleet to
// another, over their private network, so that a client can spread one exchange over
// several gateways. RELAY.md has the format, the rules and their reasons.
//
//	an empty packet -> Offer    does another gateway coordinate its source?
//	                -> bounds   of all packets, and of the source; else
//	                -> reserve  of sources that are known: see Know
//	                -> peer     the datagram that is being filled; sent when it is full, or
//	                            after Delay
//	                -> Run      a goroutine that sends, one that reads
//	a datagram      -> node     from the address of a peer, authentic, not seen before
//	                -> limit    of the peer; else the reserve
//	                -> Sink     its packets
//	each Beat       -> node     which gateways hear each other, and so may coordinate
//	Probe           -> the others, without a Relay: do they have the key, and answer?
//
// The decisions are those of a node, which has no clock, no socket and no lock. Relay has
// these: its mutex guards the node, and is never held while Sink runs or a datagram is
// sent.
//
// Memory: fixed by the number of gateways, at most MaxGateways. A full queue drops a
// datagram, and counts its packets. Nothing is sent to an address that is not in the
// configuration. A datagram that is not authentic gets no answer.
package relay
