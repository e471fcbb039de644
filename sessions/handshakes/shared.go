package handshakes

import "sallyport/verify/challenge/exchange"

// receiveShared handles a packet to a port of requests and of responses. A packet
// that a waiting challenge expects is one of the response. Any other packet is
// handled as one of a request. It ends the exchanges that wait for another packet,
// unless it is a late packet of the request that they answer, or belongs to another
// request and they tolerate that.
func (t *Table) receiveShared(p packet) Outcome {
	waiting := t.waitingPort(p)
	for _, s := range t.bySource {
		if s.waitsFor(waiting, p) && s.Expects(p.destination.Port(), p.now) {
			return t.receiveResponse(p)
		}
	}
	// The request may change the slots, so these are marked before.
	for _, s := range t.bySource {
		s.doubted = s.waitsFor(waiting, p) && !s.IsLate(p.destination.Port())
	}
	outcome := t.receiveRequest(p)
	ofRequest := outcome != Unmatched // NoSlot: it is one that found no room
	for _, s := range t.bySource {
		if !s.doubted || s.State() != exchange.Challenged || ofRequest && s.Tolerate() {
			continue
		}
		t.traced(s.Requested().Operation(), Refused, p.source.Addr())
		s.Reset()
		outcome = max(outcome, Refused)
	}
	return outcome
}
