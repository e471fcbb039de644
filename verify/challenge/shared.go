package challenge

import "fmt"

// maxSharedHits is the maximum of expectedHits: then at least half of all
// responses have no port of the request, and a server that draws nonces until it
// finds such a response draws two on average.
const maxSharedHits = 0.5

// checkShared returns an error if responses that have no port of the request are
// too rare. PROTOCOL.md, "Shared ports", explains why a server requires them.
func checkShared(requests, responses *Codec) error {
	if hits := expectedHits(requests, responses); hits > maxSharedHits {
		return fmt.Errorf("requests and responses cannot share ports: a response has, on average, up to %.2f ports of its request, "+
			"and at most %.1f are allowed; expected more data bits in a packet, or separate ports", hits, maxSharedHits)
	}
	return nil
}

// expectedHits returns an upper bound for the number of packets of a random
// response that have a port of one request, whichever request that is. It is at
// least the probability that a response has such a packet.
func expectedHits(requests, responses *Codec) float64 {
	e := responses.encoding
	// A port of the request hits a packet with probability 2^-b, for each packet
	// of the response to which the port can belong.
	chances := 1.0
	switch e.Scheme {
	case Sequence, Ranges:
		chances = float64((responses.packets + responses.block - 1) / responses.block)
	case Delays:
		chances = float64(responses.packets)
	case Differences:
		// The ports of a block are a renewal process with steps of 1 to 2^b,
		// which reaches a port with probability e/2^b at most.
		chances = 2.72 * float64((responses.packets+responses.block-1)/responses.block)
	}
	ports := float64(requests.packets)
	hits := ports * chances / float64(int(1)<<e.DataBits)
	// The last packet has fewer bits if it is padded.
	pad := float64(responses.padding() + 1)
	switch {
	case pad == 1:
		return hits
	case e.Scheme == Differences && (responses.packets-1)%responses.block != 0:
		pad = 1 // its port has all bits of the port before
	case (e.Scheme == Sequence || e.Scheme == Ranges) && e == requests.encoding && responses.block == responses.packets:
		// The request has one port of the last packet's number, or none.
		ports = 0
		if requests.packets >= responses.packets {
			ports = 1
		}
	}
	return hits + ports*pad/float64(int(1)<<e.DataBits)
}
