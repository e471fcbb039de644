package challenge

import "fmt"

// Ports is a range of ports, both ends included.
type Ports struct{ First, Last uint16 }

func (p Ports) String() string { return fmt.Sprintf("%d to %d", p.First, p.Last) }

func (p Ports) overlaps(o Ports) bool { return p.First <= o.Last && o.First <= p.Last }

// Plan holds the encodings that a server and its clients use.
type Plan struct {
	Request, Response Encoding
	// Ports are the ports that the server watches.
	Ports Ports
	// Reserved are ports that the plan must not use, such as the rotating knock
	// ports if a port cannot be used for both. nil: none.
	Reserved *Ports
}

// Codecs returns the codecs of requests and responses of these sizes in bytes.
// Requests and responses have no port in common. The error names the first rule
// that the plan breaks.
func (p Plan) Codecs(request, response int) (requests, responses *Codec, err error) {
	if p.Ports.First == 0 || p.Ports.Last < p.Ports.First {
		return nil, nil, fmt.Errorf("expected ports from 1 or higher, in ascending order, got %s", p.Ports)
	}
	if p.Reserved != nil && p.Reserved.Last < p.Reserved.First {
		return nil, nil, fmt.Errorf("expected reserved ports in ascending order, got %s", *p.Reserved)
	}
	if p.Reserved != nil && p.Ports.overlaps(*p.Reserved) {
		return nil, nil, fmt.Errorf("ports %s overlap ports %s, which are reserved for another use",
			p.Ports, *p.Reserved)
	}
	codecOf := func(what string, e Encoding, bytes int) (*Codec, error) {
		c, err := e.Codec(bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		if c.First() < p.Ports.First || c.Last() > p.Ports.Last {
			return nil, fmt.Errorf("%s: encoding %q requires ports %d to %d, but only %s are watched",
				what, e.Scheme, c.First(), c.Last(), p.Ports)
		}
		return c, nil
	}
	if requests, err = codecOf("request", p.Request, request); err != nil {
		return nil, nil, err
	}
	if responses, err = codecOf("response", p.Response, response); err != nil {
		return nil, nil, err
	}
	in, out := Ports{requests.First(), requests.Last()}, Ports{responses.First(), responses.Last()}
	if in.overlaps(out) {
		return nil, nil, fmt.Errorf("the ports of requests, %s, overlap those of responses, %s: "+
			"a late packet of a request would count as one of a response", in, out)
	}
	return requests, responses, nil
}
