package exchange

import (
	"net/netip"
	"time"

	"sallyport/verify/challenge"
)

// State is how far an exchange has come.
type State uint8

// The states.
const (
	Free       State = iota
	Requesting       // some packets of a request are there
	Requested        // all of them: Challenge is due
	Challenged       // some packets of the response may be there
	Granted          // all of them, and they are the expected ones
)

// Responder is the server's side of one exchange. Its memory is fixed. It belongs
// to one goroutine; its zero value is of no use, NewServers makes them.
type Responder struct {
	state      State
	kind       *Kind
	candidates [MaxOperations / 64]uint64 // of the kind's operations, which it may be for
	known      int                        // bits that are an operation's, or the response's
	decoder    challenge.Decoder
	request    Request
	pending    Pending
	grant      Proof
}

// NewResponders makes n exchanges, each with room for any of the operations.
func NewResponders(n int, o *Operations) []Responder {
	servers := make([]Responder, n)
	for i, d := range challenge.NewDecoders(n, o.Codecs()...) {
		servers[i].decoder = d
	}
	return servers
}

// State returns how far the exchange has come.
func (s *Responder) State() State { return s.state }

// Kind returns which requests it takes.
func (s *Responder) Kind() *Kind { return s.kind }

// Known returns how many bits have come that chance does not know: of an
// operation's ID, while it is Requesting, of the response, while Challenged.
func (s *Responder) Known() int { return s.known }

// Packets returns how many packets of the message that is due have come, without
// duplicates.
func (s *Responder) Packets() int { return s.decoder.Count() }

// Reset frees the exchange.
func (s *Responder) Reset() {
	*s = Responder{decoder: s.decoder}
}

// Begin has the exchange take a request of a kind.
func (s *Responder) Begin(k *Kind) {
	s.Reset()
	s.state, s.kind = Requesting, k
	for i := range k.operations {
		s.candidates[i/64] |= 1 << (i % 64)
	}
	s.decoder.Reset(k.requests)
}

// Copy has the exchange go on from where another one is, which is Requesting.
func (s *Responder) Copy(from *Responder) {
	decoder := s.decoder
	decoder.Copy(&from.decoder)
	*s = *from
	s.decoder = decoder
}

// Request takes a packet of a request, and reports whether there is an
// operation for which it can be one, with those before it. If not, nothing has
// changed. When it is the last one, and there is such an operation, the exchange
// is Requested.
func (s *Responder) Request(port uint16, now time.Time) bool {
	if s.state != Requesting {
		return false
	}
	left, most, any := s.candidates, 0, false
	for i, p := range s.kind.prefixes {
		if bit := uint64(1) << (i % 64); left[i/64]&bit != 0 {
			bits, ok := p.Admits(&s.decoder, port, now)
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
	before := s.decoder.Count()
	verdict := s.decoder.Take(port, now)
	if verdict == challenge.Impossible {
		return false
	}
	s.candidates = left
	if s.decoder.Count() > before {
		s.known += most
	}
	if verdict == challenge.Complete {
		return s.parse()
	}
	return true
}

// parse finds the operation of a request that is complete.
func (s *Responder) parse() bool {
	var buffer [challenge.MaxMessage]byte
	message := s.decoder.AppendMessage(buffer[:0])
	for i, o := range s.kind.operations {
		if s.candidates[i/64]>>(i%64)&1 == 0 {
			continue
		}
		if r, err := ParseRequest(o, s.kind.v6, message); err == nil {
			s.request, s.state = r, Requested
			return true
		}
	}
	return false
}

// Requested returns what was asked for, when the exchange is Requested.
func (s *Responder) Requested() Request { return s.request }

// Challenge answers the request: see Request.Challenge. From then on responses
// are taken.
func (s *Responder) Challenge(dst []byte, client, server netip.Addr, nonce [NonceSize]byte, port uint16) ([]byte, error) {
	dst, pending, err := s.request.Challenge(dst, client, server, nonce, port)
	if err != nil {
		return dst, err
	}
	s.pending, s.state, s.known = pending, Challenged, 0
	s.decoder.Reset(s.kind.responses)
	return dst, nil
}

// Response takes a packet of a response. One that is not of the expected
// response ends the exchange, and false is returned: who could try on would
// find each packet by itself. With the last one the exchange is Granted.
func (s *Responder) Response(port uint16, now time.Time) bool {
	if s.state != Challenged || !s.decoder.Belongs(s.pending.expected[:], port, now) {
		s.Reset()
		return false
	}
	before := s.decoder.Count()
	switch s.decoder.Take(port, now) {
	case challenge.Impossible:
		s.Reset()
		return false
	case challenge.Complete:
		var buffer [challenge.MaxMessage]byte
		grant, ok := s.pending.Verify(s.decoder.AppendMessage(buffer[:0]))
		if !ok {
			s.Reset()
			return false
		}
		s.grant, s.state = grant, Granted
	}
	if s.decoder.Count() > before {
		s.known += s.kind.responses.DataBits()
	}
	return true
}

// Granted returns what was proved, when the exchange is Granted; else a Grant
// of nothing.
func (s *Responder) Granted() Proof { return s.grant }
