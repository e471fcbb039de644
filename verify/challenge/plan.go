package challenge

import (
	"errors"
	"fmt"
)

// Ports is a range of ports, both ends included.
type Ports struct{ First, Last uint16 }

func (p Ports) String() string { return fmt.Sprintf("%d to %d", p.First, p.Last) }

// Len returns the number of ports.
func (p Ports) Len() int { return int(p.Last) - int(p.First) + 1 }

// Contains reports whether a port is one of them.
func (p Ports) Contains(port uint16) bool { return port >= p.First && port <= p.Last }

func (p Ports) overlaps(o Ports) bool { return p.First <= o.Last && o.First <= p.Last }

// Plan holds the encodings that a server and its clients use.
type Plan struct {
	Request, Response Encoding
	// Ports are the ports that the server watches.
	Ports Ports
	// Reserved are ports that the plan must not use, such as the rotating knock
	// ports if a port cannot be used for both. nil: none.
	Reserved *Ports
	// Shared permits ports that are of requests and of responses: see shared.go.
	Shared bool
	// Hop is the number of bases that a message can have: in some minutes its ports
	// are up to Hop-1 higher. 0: ports do not move.
	Hop uint16
	// NoIPv4 and NoIPv6 are the families in which no packet arrives. The sizes of
	// their messages do not count.
	NoIPv4, NoIPv6 bool
}

// OverlapError is the error for requests and responses that have a port in common
// although the plan is not Shared.
type OverlapError struct{ Requests, Responses Ports }

func (e *OverlapError) Error() string {
	return fmt.Sprintf("the ports of requests, %s, overlap those of responses, %s: "+
		"a late packet of a request would count as one of a response", e.Requests, e.Responses)
}

// OutsideError is the error for messages that require ports that the server does
// not watch.
type OutsideError struct {
	Message           string // "request" or "response"
	Scheme            Scheme
	Required, Watched Ports
}

func (e *OutsideError) Error() string {
	return fmt.Sprintf("%s: encoding %q requires ports %s, but only %s are watched", e.Message, e.Scheme, e.Required, e.Watched)
}

// Reach returns the ports of all messages of a codec: those to which Hop can move them
// too. They do not exceed 65535.
func (p Plan) Reach(c *Codec) Ports {
	return Ports{c.First(), uint16(min(p.highest(c), 65535))}
}

func (p Plan) highest(c *Codec) int { return int(c.Last()) + max(int(p.Hop), 1) - 1 }

// ErrReserved is in the error for ports that a plan may not use.
var ErrReserved = errors.New("reserved for another use")

// Codecs returns the codecs of requests and responses of these sizes in bytes, at
// their lowest bases. Requests and responses have no port in common, unless the plan
// is Shared: also those of different minutes. The error names the first rule that the
// plan breaks. A response above MaxMessage is a signature: the server cannot know it
// beforehand, so Codecs rejects it with ports that are shared.
func (p Plan) Codecs(request, response int) (requests, responses *Codec, err error) {
	if p.Ports.First == 0 || p.Ports.Last < p.Ports.First {
		return nil, nil, fmt.Errorf("expected ports from 1 or higher, in ascending order, got %s", p.Ports)
	}
	if p.Reserved != nil && p.Reserved.Last < p.Reserved.First {
		return nil, nil, fmt.Errorf("expected reserved ports in ascending order, got %s", *p.Reserved)
	}
	if p.Reserved != nil && p.Ports.overlaps(*p.Reserved) {
		return nil, nil, fmt.Errorf("ports %s overlap ports %s, which are %w", p.Ports, *p.Reserved, ErrReserved)
	}
	most := MaxMessage
	if response > MaxMessage {
		most = MaxSigned
	}
	codecOf := func(what string, e Encoding, bytes int) (*Codec, error) {
		c, err := e.codec(bytes, most)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		if p.highest(c) > 65535 {
			return nil, fmt.Errorf("%s: encoding %q: %w", what, e.Scheme, &TooHighError{e.Base, p.highest(c) - int(e.Base) + 1})
		}
		if c.First() < p.Ports.First || p.highest(c) > int(p.Ports.Last) {
			return nil, &OutsideError{what, e.Scheme, p.Reach(c), p.Ports}
		}
		return c, nil
	}
	if requests, err = codecOf("request", p.Request, request); err != nil {
		return nil, nil, err
	}
	if responses, err = codecOf("response", p.Response, response); err != nil {
		return nil, nil, err
	}
	if !p.Reach(requests).overlaps(p.Reach(responses)) {
		return requests, responses, nil
	}
	if !p.Shared || response > MaxMessage {
		return nil, nil, &OverlapError{p.Reach(requests), p.Reach(responses)}
	}
	return requests, responses, checkShared(requests, responses)
}
