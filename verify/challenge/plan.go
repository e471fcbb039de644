package challenge

import "fmt"

// Ports is a range of them, both ends included.
type Ports struct{ First, Last uint16 }

func (p Ports) String() string { return fmt.Sprintf("%d to %d", p.First, p.Last) }

func (p Ports) meets(o Ports) bool { return p.First <= o.Last && o.First <= p.Last }

// Plan is how a server and its clients speak.
type Plan struct {
	Request, Response Encoding
	// Ports are those that the server watches.
	Ports Ports
	// Taken are those that it has to leave to something else, such as the
	// knock ports that rotate, if the same port cannot be both. nil: none.
	Taken *Ports
}

// Codecs returns the codecs of requests and responses of so many bytes. No port
// is one of both. An error says which part of the plan cannot be, and why.
func (p Plan) Codecs(request, response int) (requests, responses *Codec, err error) {
	if p.Ports.First == 0 || p.Ports.Last < p.Ports.First {
		return nil, nil, fmt.Errorf("ports %s: they begin at 1 or above, and end there or above", p.Ports)
	}
	if p.Taken != nil && p.Taken.Last < p.Taken.First {
		return nil, nil, fmt.Errorf("ports %s are taken: they end below their beginning", *p.Taken)
	}
	if p.Taken != nil && p.Ports.meets(*p.Taken) {
		return nil, nil, fmt.Errorf("ports %s: any of %s can be taken for something else", p.Ports, *p.Taken)
	}
	one := func(what string, e Encoding, bytes int) (*Codec, error) {
		c, err := e.Codec(bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		if c.First() < p.Ports.First || c.Last() > p.Ports.Last {
			return nil, fmt.Errorf("%s: encoding %q takes ports %d to %d, where %s are watched", what, e.Scheme, c.First(), c.Last(), p.Ports)
		}
		return c, nil
	}
	if requests, err = one("request", p.Request, request); err != nil {
		return nil, nil, err
	}
	if responses, err = one("response", p.Response, response); err != nil {
		return nil, nil, err
	}
	if o := (Ports{responses.First(), responses.Last()}); o.meets(Ports{requests.First(), requests.Last()}) {
		return nil, nil, fmt.Errorf("requests go to ports %d to %d, responses to %s: a late packet of a request would be one of a response",
			requests.First(), requests.Last(), o)
	}
	return requests, responses, nil
}
