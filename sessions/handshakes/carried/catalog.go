package carried

import (
	"net/netip"
	"time"

	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

// operation is one of the operations, at the table's storage for it.
type operation struct {
	*exchange.Operation
	storage *storage
	classes [2]class // of requests for addresses, for connections; guarded by Table.mu
}

// catalog finds the operation of a request. It is immutable, and safe for concurrent use.
type catalog struct {
	operations *exchange.Operations
	byID       map[string]*operation
	masks      [][]byte  // that requests can have; one that is nil: none
	since      time.Time // masks are right from here on
	until      time.Time // and before here; zero: always
}

func newCatalog(o *exchange.Operations, byID map[string]*operation, wall time.Time) *catalog {
	c := &catalog{operations: o, byID: byID, since: wall}
	c.masks, c.until = o.Masks(wall)
	return c
}

// turned returns the catalog at a time of day.
func (c *catalog) turned(wall time.Time) *catalog {
	if c.until.IsZero() || !wall.Before(c.since) && wall.Before(c.until) {
		return c
	}
	return newCatalog(c.operations, c.byID, wall)
}

// find returns the operation of a request, and the parsed request. No ID is the beginning
// of another, so a message is of one operation at most.
func (c *catalog) find(m *carrier.Message) (*operation, exchange.Request, bool) {
	b, v6 := m.Bytes(), m.Kind != carrier.Request4
	if len(b) < exchange.MinID || len(b) > exchange.MaxRequest {
		return nil, exchange.Request{}, false
	}
	rests := [...]int{0, netip.IPv4Unspecified().BitLen() / 8, exchange.NonceSize}
	if v6 {
		rests[1] = netip.IPv6Unspecified().BitLen() / 8
	}
	var buffer [exchange.MaxRequest]byte
	request := buffer[:len(b)]
	for _, mask := range c.masks {
		copy(request, b)
		for i := range mask[:min(len(mask), len(b))] {
			request[i] ^= mask[i]
		}
		for _, rest := range rests { // of the three algorithms
			n := len(b) - rest
			if n < exchange.MinID || n > exchange.MaxID {
				continue
			}
			o := c.byID[string(request[:n])]
			if o == nil || o.RequestSize(v6) != len(b) {
				continue
			}
			r, err := exchange.ParseRequest(o.Operation, v6, request)
			return o, r, err == nil
		}
	}
	return nil, exchange.Request{}, false
}
