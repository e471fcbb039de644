package carried

import (
	"slices"
	"time"

	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

// operation is one of the operations, with its exchanges. Table.mu guards its fields.
type operation struct {
	*exchange.Operation
	classes [2]class // of requests for addresses, for connections
	gone    bool     // Update has removed or replaced it, and ended its exchanges
}

// catalog finds the operation of a request. It is immutable, and safe for concurrent use.
type catalog struct {
	operations *exchange.Operations
	byID       map[string]*operation
	rests      [2][]int  // of IPv4, IPv6: the sizes that a request has beside its ID
	masks      [][]byte  // that requests can have; one that is nil: none
	since      time.Time // masks are right from here on
	until      time.Time // and before here; zero: always
}

func newCatalog(o *exchange.Operations, byID map[string]*operation, wall time.Time) *catalog {
	c := &catalog{operations: o, byID: byID, since: wall}
	for _, op := range byID {
		for family := range c.rests {
			if n := op.RequestSize(family == 1) - len(op.ID()); !slices.Contains(c.rests[family], n) {
				c.rests[family] = append(c.rests[family], n)
			}
		}
	}
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
	b, v6, rests := m.Bytes(), m.Kind != carrier.Request4, c.rests[1]
	if !v6 {
		rests = c.rests[0]
	}
	if len(b) < exchange.MinID || len(b) > exchange.MaxSignedRequest {
		return nil, exchange.Request{}, false
	}
	var buffer [exchange.MaxSignedRequest]byte
	request := buffer[:len(b)]
	for _, mask := range c.masks {
		copy(request, b)
		for i := range mask[:min(len(mask), len(b))] {
			request[i] ^= mask[i]
		}
		for _, rest := range rests {
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
