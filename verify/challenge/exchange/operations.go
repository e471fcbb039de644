package exchange

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sallyport/verify/challenge"
)

// MaxOperations is the maximum number of operations of a server. It bounds the
// work for a packet: each packet of a request is compared with all operations
// that the request may be for.
const MaxOperations = 256

// Operations are all operations of a server, by the sizes of their messages. They
// are immutable, and safe for concurrent use.
type Operations struct {
	kinds     [2][]*Kind // over IPv4, IPv6; none over a family without packets
	all       []*Operation
	requests  challenge.Ports // from the lowest to the highest one of all kinds
	responses challenge.Ports // as requests
	bases     uint16          // with Plan.Hop; 0: ports do not move
	hopping   Hopping
}

// Kind is the set of operations whose requests, and whose responses, have the same
// size.
type Kind struct {
	requests, responses *challenge.Codec
	shared              bool // they have ports in common
	v6                  bool
	operations          []*Operation
	prefixes            []*challenge.Prefix // the ID of each operation, masked
	mask                []byte              // of the minute; nil: ports do not move
}

// NewOperations checks that the operations do not conflict with each other, and
// that the plan has ports for all of them, in each family in which packets arrive.
func NewOperations(list []*Operation, plan challenge.Plan) (*Operations, error) {
	if len(list) > MaxOperations {
		return nil, fmt.Errorf("expected at most %d operations, got %d", MaxOperations, len(list))
	}
	o := &Operations{all: slices.Clone(list), bases: plan.Hop}
	for i, op := range list {
		if !op.hasKeys() {
			return nil, fmt.Errorf("operation %q: %w", op.id, errNoKeys)
		}
		for _, other := range list[:i] {
			switch {
			case op.id == other.id:
				return nil, fmt.Errorf("operation %q: the ID occurs twice", op.id)
			case strings.HasPrefix(op.id, other.id), strings.HasPrefix(other.id, op.id):
				// The beginning of a request for the longer ID could be a whole
				// request for the shorter one.
				return nil, fmt.Errorf("operations %q and %q: one ID must not be the beginning of the other",
					other.id, op.id)
			}
		}
		for family, absent := range []bool{plan.NoIPv4, plan.NoIPv6} {
			if absent {
				continue
			}
			if plan.Shared && op.Signed() {
				return nil, fmt.Errorf("operation %q: %w", op.id, errSharedSigned)
			}
			if err := o.add(op, plan, family, family == 1); err != nil {
				return nil, fmt.Errorf("operation %q, over IPv%d: %w", op.id, 4+2*family, err)
			}
		}
	}
	if o.requests.First != 0 && !plan.Shared && o.requests.First <= o.responses.Last && o.responses.First <= o.requests.Last {
		return nil, &challenge.OverlapError{Requests: o.requests, Responses: o.responses}
	}
	return o, nil
}

// errSharedSigned is the error for public keys and shared ports.
var errSharedSigned = errors.New("requests and responses must not share ports if an operation has public keys: " +
	"the server cannot know its responses beforehand")

func (o *Operations) add(op *Operation, plan challenge.Plan, family int, v6 bool) error {
	requests, responses, err := plan.Codecs(op.RequestSize(v6), op.ResponseSize())
	if err != nil {
		return err
	}
	prefix, err := requests.Prefix([]byte(op.id))
	if err != nil {
		return err
	}
	i := slices.IndexFunc(o.kinds[family], func(k *Kind) bool {
		return k.requests.Bytes() == requests.Bytes() && k.responses.Bytes() == responses.Bytes()
	})
	if i < 0 {
		i = len(o.kinds[family])
		k := &Kind{requests: requests, responses: responses, v6: v6}
		in, out := plan.Reach(requests), plan.Reach(responses)
		k.shared = plan.Shared && (in.Contains(out.First) || out.Contains(in.First))
		o.kinds[family] = append(o.kinds[family], k)
		if o.requests.First == 0 {
			o.requests, o.responses = in, out
		}
		o.requests.Last, o.responses.Last = max(o.requests.Last, in.Last), max(o.responses.Last, out.Last)
	}
	k := o.kinds[family][i]
	k.operations, k.prefixes = append(k.operations, op), append(k.prefixes, prefix)
	return nil
}

// equal reports whether two kinds have the same operations, as the same pointers, and
// their messages the same ports.
func (k *Kind) equal(other *Kind) bool {
	return *k.requests == *other.requests && *k.responses == *other.responses && k.shared == other.shared && k.v6 == other.v6 &&
		bytes.Equal(k.mask, other.mask) && slices.Equal(k.operations, other.operations)
}

// Replace returns the operations with others in the place of some, which must have the
// same ID, sizes and keys.
func (o *Operations) Replace(by map[*Operation]*Operation) *Operations {
	replaced := func(list []*Operation) []*Operation {
		list = slices.Clone(list)
		for i, op := range list {
			if other := by[op]; other != nil {
				list[i] = other
			}
		}
		return list
	}
	next := *o
	next.all = replaced(o.all)
	for family, kinds := range o.kinds {
		next.kinds[family] = nil
		for _, k := range kinds {
			other := *k
			other.operations = replaced(k.operations)
			next.kinds[family] = append(next.kinds[family], &other)
		}
	}
	return &next
}

// Delay is the pause after each packet of a request. 0: no pause.
func (k *Kind) Delay() time.Duration { return k.requests.Delay() }

// RequestPackets is the number of packets of a request.
func (k *Kind) RequestPackets() int { return k.requests.Packets() }

// Kinds returns the kinds of requests that a client can send from an address, at their
// lowest bases: see Minutes.
func (o *Operations) Kinds(client netip.Addr) []*Kind {
	if client.Unmap().Is6() {
		return o.kinds[1]
	}
	return o.kinds[0]
}

// ResponsePackets is the number of packets of a response.
func (k *Kind) ResponsePackets() int { return k.responses.Packets() }

// ResponseDelay is the pause after each packet of a response. 0: no pause.
func (k *Kind) ResponseDelay() time.Duration { return k.responses.Delay() }

// MaxKinds returns the maximum number of kinds that a packet can belong to.
func (o *Operations) MaxKinds() int {
	n := max(len(o.kinds[0]), len(o.kinds[1]), 1)
	if o.bases > 0 {
		n *= maxHops
	}
	return n
}

// List returns all operations, in no particular order.
func (o *Operations) List() []*Operation { return slices.Clone(o.all) }

// IsRequest reports whether a port is one of requests.
func (o *Operations) IsRequest(port uint16) bool {
	return port != 0 && o.requests.Contains(port)
}

// IsResponse reports whether a port is one of responses. Unless the plan is
// Shared, such a port is never one of requests.
func (o *Operations) IsResponse(port uint16) bool {
	return port != 0 && o.responses.Contains(port)
}

// Codecs returns all codecs for which a Responder must have memory.
func (o *Operations) Codecs() (all []*challenge.Codec) {
	for _, k := range slices.Concat(o.kinds[0], o.kinds[1]) {
		all = append(all, k.requests, k.responses)
	}
	return all
}
