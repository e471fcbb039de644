package exchange

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sallyport/verify/challenge"
)

// MaxOperations is how many a server has. Each packet of a request is compared
// with those that it may still be for.
const MaxOperations = 256

// Operations are all that a server has, by the requests that ask for them. It is
// immutable, and safe for concurrent use.
type Operations struct {
	kinds     [2][]*Kind // over IPv4, IPv6
	responses *challenge.Codec
}

// Kind are the operations whose requests have one size.
type Kind struct {
	requests, responses *challenge.Codec
	v6                  bool
	operations          []*Operation
	prefixes            []*challenge.Prefix // of each the ID
}

// NewOperations checks operations and the plan by which clients speak against
// each other.
func NewOperations(list []*Operation, plan challenge.Plan) (*Operations, error) {
	if len(list) > MaxOperations {
		return nil, fmt.Errorf("%d operations, where %d are the most", len(list), MaxOperations)
	}
	o := new(Operations)
	for i, op := range list {
		for _, other := range list[:i] {
			switch {
			case op.id == other.id:
				return nil, fmt.Errorf("operation %q: there are two of that ID", op.id)
			case strings.HasPrefix(op.id, other.id), strings.HasPrefix(other.id, op.id):
				// A request for the longer one may be all that the shorter takes.
				return nil, fmt.Errorf("operations %q and %q: one ID is the beginning of the other", other.id, op.id)
			}
		}
		for family, v6 := range []bool{false, true} {
			if err := o.add(op, plan, family, v6); err != nil {
				return nil, fmt.Errorf("operation %q: %w", op.id, err)
			}
		}
	}
	return o, nil
}

func (o *Operations) add(op *Operation, plan challenge.Plan, family int, v6 bool) error {
	requests, responses, err := plan.Codecs(op.RequestSize(v6), ResponseSize)
	if err != nil {
		return err
	}
	prefix, err := requests.Prefix([]byte(op.id))
	if err != nil {
		return err
	}
	i := slices.IndexFunc(o.kinds[family], func(k *Kind) bool { return k.requests.Bytes() == requests.Bytes() })
	if i < 0 {
		i = len(o.kinds[family])
		o.kinds[family] = append(o.kinds[family], &Kind{requests: requests, responses: responses, v6: v6})
		o.responses = responses
	}
	k := o.kinds[family][i]
	k.operations, k.prefixes = append(k.operations, op), append(k.prefixes, prefix)
	return nil
}

// Delay is the pause after each packet of a request; 0: there is none.
func (k *Kind) Delay() time.Duration { return k.requests.Delay() }

// Kinds returns the kinds of requests that come from an address.
func (o *Operations) Kinds(client netip.Addr) []*Kind {
	if client.Unmap().Is6() {
		return o.kinds[1]
	}
	return o.kinds[0]
}

// ResponsePackets is how many packets a response has.
func (k *Kind) ResponsePackets() int { return k.responses.Packets() }

// ResponseDelay is that after each packet of a response.
func (k *Kind) ResponseDelay() time.Duration { return k.responses.Delay() }

// MaxKinds returns of how many kinds a packet can be at the most.
func (o *Operations) MaxKinds() int { return max(len(o.kinds[0]), len(o.kinds[1]), 1) }

// List returns all operations, in no order.
func (o *Operations) List() (all []*Operation) {
	for _, k := range o.kinds[0] { // each is asked for over both families
		all = append(all, k.operations...)
	}
	return all
}

// IsResponse reports whether responses go to a port. Requests then do not.
func (o *Operations) IsResponse(port uint16) bool {
	return o.responses != nil && port >= o.responses.First() && port <= o.responses.Last()
}

// Codecs returns all that a Server needs room for.
func (o *Operations) Codecs() (all []*challenge.Codec) {
	for _, k := range slices.Concat(o.kinds[0], o.kinds[1]) {
		all = append(all, k.requests, k.responses)
	}
	return all
}
