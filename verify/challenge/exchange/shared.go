package exchange

import (
	"net/netip"
	"time"

	"sallyport/verify/challenge"
)

// This file has the rules for requests and responses that share ports; without
// shared ports they change nothing. PROTOCOL.md, "Shared ports", has the reasons.

// maxForeign bounds the packets of other requests that an exchange tolerates.
const maxForeign = 32

// Distinct reports whether the response to a challenge with a nonce has no port of
// the request. The exchange must be Requested. The server draws a nonce again if
// not: so a packet of the request that arrives late is never one of the response.
func (r *Responder) Distinct(client, server netip.Addr, nonce [NonceSize]byte) bool {
	if !r.kind.shared {
		return true
	}
	response := r.request.expected(client, server, nonce)
	var buffer [challenge.MaxSigned]byte
	request := r.kind.masked(r.request.appendMessage(buffer[:0]))
	for i, next := 0, 0; i < r.kind.responses.Packets(); i++ {
		var port uint16
		if port, next = r.kind.responses.Port(response[:], i, next); r.kind.requests.Uses(request, port) {
			return false
		}
	}
	return true
}

// IsLate reports whether a packet to a port that requests and responses share is
// one of the request that the challenge answers. That request is complete, so the
// packet is a duplicate. It is never part of the expected response: see Distinct.
func (r *Responder) IsLate(port uint16) bool {
	if r.state != Challenged || !r.kind.shared {
		return false
	}
	var buffer [challenge.MaxSigned]byte
	return r.kind.requests.Uses(r.kind.masked(r.request.appendMessage(buffer[:0])), port)
}

// Expects reports whether a packet belongs to the expected response. A signature is not
// known before it is complete, so each packet of its ports can belong to it.
func (r *Responder) Expects(port uint16, now time.Time) bool {
	if r.state == Challenged && r.pending.signed != nil {
		return r.kind.responses.Ports().Contains(port)
	}
	return r.state == Challenged && r.decoder.Belongs(r.pending.expected[:], port, now)
}

// Tolerate counts a packet to a shared port that belongs to another request, and
// reports whether the exchange continues: it tolerates as many as its own request
// has, and at most maxForeign.
func (r *Responder) Tolerate() bool {
	r.foreign++
	return r.foreign <= min(r.kind.requests.Packets(), maxForeign)
}
