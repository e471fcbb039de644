// Package paper has the rows of Tables 1, 2 and 3 of Improved Port Knocking with
// Strong Authentication (deGraaf, Aycock, Jacobson 2005, section 6.3.1), and the
// ports with which a server can deploy each. The table in ../PROTOCOL.md is made of
// it. All values are immutable.
package paper

import (
	"errors"
	"fmt"
	"time"

	"sallyport/verify/challenge"
)

// Sizes, in bytes, of the messages of the paper's operation: an ID of 10 bytes, and
// Algorithm 2.
const (
	Request4 = 10 + 4 // over IPv4
	Request6 = 10 + 16
	Response = 20
)

// ID is an ID of the paper's size.
const ID = "0123456789"

// Delay is the pause of Table 3's first column of times.
const Delay = 5 * time.Millisecond

// Row is a row of one of the tables.
type Row struct {
	Table        int // 1, 2 or 3
	Scheme       challenge.Scheme
	DataBits     int
	SequenceBits int
	Ports        int // the paper's "size of port range"; 0: the paper has no such row
}

func (r Row) String() string {
	bits := fmt.Sprint(r.DataBits)
	if r.SequenceBits > 0 {
		bits = fmt.Sprintf("%d + %d", r.DataBits, r.SequenceBits)
	}
	return fmt.Sprintf("Table %d, %s %s", r.Table, r.Scheme, bits)
}

// Rows returns all rows. Table 2 is for two schemes. It has one row more: with 10
// data bits Table 1 has 5 sequence bits, where 4 suffice.
func Rows() (all []Row) {
	for _, r := range [][3]int{
		{12, 4, 65536}, {10, 5, 32768}, {10, 4, 0}, {9, 5, 16384}, {8, 5, 8192}, {7, 5, 4096}, {6, 5, 2048}, {5, 5, 1024}, {3, 6, 512},
	} {
		all = append(all, Row{1, challenge.Sequence, r[0], r[1], r[2]})
	}
	for _, s := range []challenge.Scheme{challenge.Differences, challenge.Ranges} {
		for i, ports := range []int{57344, 30720, 16384, 9216, 5120, 2944, 1728, 1024, 640, 432, 320, 320} {
			all = append(all, Row{2, s, 12 - i, 0, ports})
		}
	}
	for i, ports := range []int{32768, 16384, 8192, 4096, 2048, 1024, 512, 256} {
		all = append(all, Row{3, challenge.Delays, 15 - i, 0, ports})
	}
	return all
}

// Encoding returns the encoding of the row with a base.
func (r Row) Encoding(base uint16) challenge.Encoding {
	e := challenge.Encoding{Scheme: r.Scheme, Base: base, DataBits: r.DataBits, SequenceBits: r.SequenceBits}
	if r.Scheme == challenge.Delays {
		e.Delay = Delay
	}
	return e
}

// first is the first port of a plan for which there is room above it.
const first = 1024

// Plan returns the plan with which a server can deploy the row for the paper's
// operation, over IPv4, or over IPv4 and IPv6. Requests and responses have separate
// ports if there are enough, or else the same ones. The plan watches no other
// ports, and begins at port 1024 or, if it is larger, at port 1. The error is why
// the row cannot be deployed.
func (r Row) Plan(both bool) (challenge.Plan, error) {
	request := Request4
	if both {
		request = Request6 // the longer one
	}
	var reasons []error
	for _, shared := range []bool{false, true} {
		for _, base := range []uint16{first, 1} {
			p := challenge.Plan{Request: r.Encoding(base), Response: r.Encoding(base), Shared: shared, NoIPv6: !both}
			err := place(&p, request)
			if err == nil {
				return p, nil
			}
			if base == 1 {
				reasons = append(reasons, err)
			}
		}
	}
	// If the encoding itself has no room for the messages, both reasons are the same.
	if reasons[0].Error() == reasons[1].Error() {
		return challenge.Plan{}, reasons[0]
	}
	return challenge.Plan{}, errors.Join(reasons...)
}

// place places the ports of responses, and the watched ports.
func place(p *challenge.Plan, request int) error {
	requests, err := p.Request.Codec(request)
	if err != nil {
		return err
	}
	if !p.Shared {
		if requests.Last() == 65535 {
			return errors.New("no port is left for responses")
		}
		p.Response.Base = requests.Last() + 1
	}
	responses, err := p.Response.Codec(Response)
	if err != nil {
		return err
	}
	p.Ports = challenge.Ports{First: p.Request.Base, Last: max(requests.Last(), responses.Last())}
	_, _, err = p.Codecs(request, Response)
	return err
}
