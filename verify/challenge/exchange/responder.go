package exchange

import (
	"net/netip"
	"slices"
	"time"

	"sallyport/verify/challenge"
)

// State is the state of an exchange.
type State uint8

// The states.
const (
	Free       State = iota
	Requesting       // some packets of a request may have arrived
	Requested        // all packets of a request have arrived; Challenge is next
	Challenged       // some packets of the response may have arrived
	Verified         // all of them, and they are the expected ones
)

// Responder is the server's side of one exchange. Its memory is fixed. It belongs
// to one goroutine. Use NewResponders to make it, not the zero value.
type Responder struct {
	state      State
	kind       *Kind
	candidates [MaxOperations / 64]uint64 // the operations of the kind that the request may be for
	known      int                        // see Known
	foreign    int                        // see Tolerate
	decoder    challenge.Decoder
	request    Request
	pending    Pending
	proof      Proof
}

// NewResponders makes n responders, each with memory for any of the operations.
func NewResponders(n int, o *Operations) []Responder {
	responders := make([]Responder, n)
	for i, d := range challenge.NewDecoders(n, o.Codecs()...) {
		responders[i].decoder = d
	}
	return responders
}

// State returns the state of the exchange.
func (r *Responder) State() State { return r.state }

// Kind returns the kind of the request.
func (r *Responder) Kind() *Kind { return r.kind }

// Known returns how many bits of an operation's ID (while Requesting) or of the
// expected response (while Challenged) have arrived. Random packets rarely have
// these bits. It returns 0 for a signature, whose packets prove nothing before the last.
func (r *Responder) Known() int { return r.known }

// Packets returns how many packets of the current message have arrived, without
// duplicates.
func (r *Responder) Packets() int { return r.decoder.Count() }

// Reset ends the exchange. The state is then Free.
func (r *Responder) Reset() {
	*r = Responder{decoder: r.decoder}
}

// Begin resets the exchange and begins a request of a kind.
func (r *Responder) Begin(k *Kind) {
	r.Reset()
	r.state, r.kind = Requesting, k
	for i := range k.operations {
		r.candidates[i/64] |= 1 << (i % 64)
	}
	r.decoder.Reset(k.requests)
}

// CopyFrom copies the state of another exchange, which must be Requesting or
// Challenged. The two share no memory.
func (r *Responder) CopyFrom(from *Responder) {
	decoder := r.decoder
	decoder.CopyFrom(&from.decoder)
	*r = *from
	r.decoder = decoder
}

// Adopt is CopyFrom for an exchange of other Operations, of which one that is Challenged
// has an operation here, too. One that is Requesting must be of one of the kinds, with the
// same operations. Adopt reports whether it has copied the exchange.
func (r *Responder) Adopt(from *Responder, kinds []*Kind) bool {
	kind := from.kind // the responses are those of the challenge
	if from.state == Requesting {
		i := slices.IndexFunc(kinds, kind.equal)
		if i < 0 {
			return false
		}
		kind = kinds[i]
	}
	r.CopyFrom(from)
	r.kind = kind
	return true
}

// Request adds a packet to the request, and reports whether the packets so far
// can be a request for an operation. If not, the packet is not added; but if it
// is the last packet, the request can no longer complete. With the last packet
// of a valid request the exchange is Requested.
func (r *Responder) Request(port uint16, now time.Time) bool {
	if r.state != Requesting {
		return false
	}
	left, most, any := r.candidates, 0, false
	for i, p := range r.kind.prefixes {
		if bit := uint64(1) << (i % 64); left[i/64]&bit != 0 {
			bits, ok := p.Admits(&r.decoder, port, now)
			if !ok {
				left[i/64] &^= bit
				continue
			}
			any, most = true, max(most, bits)
		}
	}
	if !any {
		return false
	}
	before := r.decoder.Count()
	verdict := r.decoder.Add(port, now)
	if verdict == challenge.Impossible {
		return false
	}
	r.candidates = left
	if r.decoder.Count() > before {
		r.known += most
	}
	if verdict == challenge.Complete {
		return r.parse()
	}
	return true
}

// parse finds the operation of a complete request.
func (r *Responder) parse() bool {
	var buffer [challenge.MaxSigned]byte
	message := r.kind.masked(r.decoder.AppendMessage(buffer[:0]))
	for i, o := range r.kind.operations {
		if r.candidates[i/64]>>(i%64)&1 == 0 {
			continue
		}
		if request, err := ParseRequest(o, r.kind.v6, message); err == nil {
			r.request, r.state = request, Requested
			return true
		}
	}
	return false
}

// Requested returns the request of an exchange that is Requested or Challenged.
func (r *Responder) Requested() Request { return r.request }

// Challenge makes the challenge: see Request.Challenge. The exchange is then
// Challenged.
func (r *Responder) Challenge(
	dst []byte, client, server netip.Addr, nonce [NonceSize]byte, port uint16,
) ([]byte, error) {
	dst, pending, err := r.request.Challenge(dst, client, server, nonce, port)
	if err != nil {
		return dst, err
	}
	r.pending, r.state, r.known = pending, Challenged, 0
	r.decoder.Reset(r.kind.responses)
	return dst, nil
}

// Response adds a packet to the response. A packet that does not belong to the
// expected response ends the exchange, and Response returns false: otherwise an
// attacker could try all ports for each packet in turn. Response ignores a packet
// that IsLate. With the last packet the exchange is Verified.
func (r *Responder) Response(port uint16, now time.Time) bool {
	if r.IsLate(port) {
		return true
	}
	if !r.Expects(port, now) {
		r.Reset()
		return false
	}
	before := r.decoder.Count()
	switch r.decoder.Add(port, now) {
	case challenge.Impossible:
		r.Reset()
		return false
	case challenge.Complete:
		var buffer [challenge.MaxSigned]byte
		proof, ok := r.pending.Verify(r.decoder.AppendMessage(buffer[:0]))
		if !ok {
			r.Reset()
			return false
		}
		r.proof, r.state = proof, Verified
	}
	if r.decoder.Count() > before && r.pending.signed == nil {
		r.known += r.kind.responses.DataBits()
	}
	return true
}

// Proof returns the proof of an exchange that is Verified; otherwise an empty
// one.
func (r *Responder) Proof() Proof { return r.proof }
