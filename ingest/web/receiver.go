package web

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/verify/challenge/carrier"
)

// Exchanges takes the messages of exchanges. Several goroutines call it concurrently.
// The Message is valid until the call returns.
type Exchanges interface {
	// Request appends the challenge for a request, of at most carrier.MaxChallenge
	// bytes, and reports whether there is one. The same request may arrive again: it
	// gets the same challenge. The client is the address that the request came from,
	// of the family of its kind, or the zero Addr of a RequestConnection.
	Request(dst []byte, m *carrier.Message, client netip.Addr, now time.Time) ([]byte, bool)
	// Response takes a response, right or wrong. The same one may arrive again.
	Response(m *carrier.Message, now time.Time)
}

// misfits is what Exchanges may also take, for a trace: whole requests for an address of
// another family than the client's, which get no challenge.
type misfits interface {
	OtherFamily(m *carrier.Message, client netip.Addr)
}

// How many messages of which not all parts have arrived are kept. Over DNS, anyone can
// send parts at a high rate, and a resolver passes on those of one message with a pause:
// a flood of 100,000 parts a second needs some 100 ms to displace a message.
const (
	assembliesHTTP = 1 << 10
	assembliesDNS  = 1 << 14 // 5 MiB
)

// receiver puts together the parts of messages, and hands whole ones to Exchanges. It
// is safe for concurrent use.
type receiver struct {
	exchanges Exchanges
	shares    *shares       // of the sources of requests; nil: they can be forged, and have none
	refused   atomic.Uint64 // requests beyond the share of their source
	mu        sync.Mutex
	assembler *carrier.Assembler // guarded by mu
}

func (r *receiver) init(e Exchanges, assemblies int) {
	r.exchanges, r.assembler = e, carrier.NewAssembler(assemblies)
}

// take takes a part that came from an address, and appends the challenge, if its
// message is a complete request that has one. It ignores a request for an address of
// another family than the client's, and one beyond the share of its source.
func (r *receiver) take(dst []byte, m *carrier.Message, client netip.Addr, now time.Time) ([]byte, bool) {
	source := client
	switch m.Kind {
	case carrier.Request4:
		if !client.Is4() {
			r.misfit(m, client)
			return dst, false
		}
	case carrier.Request6:
		if !client.Is6() {
			r.misfit(m, client)
			return dst, false
		}
	default:
		client = netip.Addr{}
	}
	if !m.Complete() {
		r.mu.Lock()
		complete := r.assembler.Add(m, client, now)
		r.mu.Unlock()
		if !complete {
			return dst, false
		}
	}
	if m.Kind == carrier.Response {
		r.exchanges.Response(m, now)
		return dst, false
	}
	if r.shares != nil && !r.shares.take(source, now) {
		r.refused.Add(1)
		return dst, false
	}
	return r.exchanges.Request(dst, m, client, now)
}

// misfit takes a request for an address of another family than the client's.
func (r *receiver) misfit(m *carrier.Message, client netip.Addr) {
	if other, ok := r.exchanges.(misfits); ok && m.Complete() && client.IsValid() {
		other.OtherFamily(m, client)
	}
}
