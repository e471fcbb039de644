package carriers

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"

	"golang.org/x/net/dns/dnsmessage"

	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

// The operation and its secret, which need not be secret: the listeners are reachable
// only from the networks created here.
const (
	operationID = "bench-open"
	secret      = "floodbench floodbench floodbench"
	host        = "www.example.org"
	zone        = "k.example.org"
)

// content is what the requests of a flood carry.
type content uint8

const (
	stranger content = iota // nothing
	unknown                 // a whole request for an operation that does not exist
	known                   // a whole request for the operation, with a new number
)

// Scenario is a flood.
type Scenario struct {
	Name    string
	DNS     bool    // queries over UDP, and honest exchanges over DNS; otherwise HTTP
	Rate    float64 // requests or queries a second; 0: none
	Beyond  bool    // beyond the goal: it cannot fail by what is lost
	content content
	fresh   bool // a connection for each request
}

// Scenarios returns all scenarios. The first one of each carrier has no flood.
func Scenarios() []Scenario {
	return []Scenario{
		{Name: "HTTP: none"},
		{Name: "20,000 GETs of strangers", Rate: 20_000},
		{Name: "20,000 paths, unknown ID", Rate: 20_000, content: unknown},
		{Name: "20,000 paths, known ID", Rate: 20_000, content: known},
		{Name: "2,000 connections with a GET each", Rate: 2_000, fresh: true, Beyond: true},
		{Name: "DNS: none", DNS: true},
		{Name: "100,000 queries of strangers", DNS: true, Rate: 100_000},
		{Name: "100,000 names, unknown ID", DNS: true, Rate: 100_000, content: unknown},
		// The sources of queries can be forged, so such a flood looks like clients.
		{Name: "100,000 names, known ID", DNS: true, Rate: 100_000, content: known, Beyond: true},
	}
}

// variety is the number of different requests or queries of a flood, which repeats them.
const variety = 1 << 15

// message returns the message of a request.
func (c content) message(k carrier.Kind) (*carrier.Message, error) {
	id := []byte(operationID)
	if c == unknown {
		for i := range id {
			id[i] = byte('a' + rand.IntN(26))
		}
	}
	size := 4
	if k == carrier.RequestConnection {
		size = 16
	}
	for range size {
		id = append(id, byte(rand.Uint32()))
	}
	m, err := carrier.New(k, carrier.Exchange(rand.Uint64())&carrier.MaxExchange, id)
	return &m, err
}

// requests returns the HTTP requests of a flood.
func (s Scenario) requests() (all [][]byte, err error) {
	for range variety {
		path := fmt.Sprintf("/%x/page-%d.html", rand.Uint32(), rand.IntN(1000))
		if s.content != stranger {
			m, err := s.content.message(carrier.Request4)
			if err != nil {
				return nil, err
			}
			path = string(m.AppendPath(nil, 0, m.Numbers()))
		}
		all = append(all, get(path))
	}
	return all, nil
}

// get returns a request.
func get(path string) []byte {
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: floodbench\r\nAccept: */*\r\n\r\n", path, host)
}

// queries returns the DNS queries of a flood.
func (s Scenario) queries() (all [][]byte, err error) {
	for range variety {
		label := []byte(fmt.Sprintf("www-%x", rand.Uint32()))
		if s.content != stranger {
			m, err := s.content.message(carrier.RequestConnection)
			if err != nil {
				return nil, err
			}
			label = m.AppendLabel(nil, 0)
		}
		q, err := query(label)
		if err != nil {
			return nil, err
		}
		all = append(all, q)
	}
	return all, nil
}

// query returns a query for the records of type TXT of a label below the zone, as of a
// resolver.
func query(label []byte) ([]byte, error) {
	name, err := dnsmessage.NewName(string(label) + "." + zone + ".")
	if err != nil {
		return nil, err
	}
	var opt dnsmessage.ResourceHeader
	if err := opt.SetEDNS0(1232, dnsmessage.RCodeSuccess, false); err != nil {
		return nil, err
	}
	m := dnsmessage.Message{
		Header:      dnsmessage.Header{ID: uint16(rand.Uint32())},
		Questions:   []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeTXT, Class: dnsmessage.ClassINET}},
		Additionals: []dnsmessage.Resource{{Header: opt, Body: &dnsmessage.OPTResource{}}},
	}
	return m.Pack()
}

// answered parses an answer: the header's ID, and the challenge, if it has one.
func answered(b []byte) (id uint16, challenge []byte, ok bool) {
	var p dnsmessage.Parser
	if len(b) < 2 {
		return 0, nil, false
	}
	id = binary.BigEndian.Uint16(b)
	if _, err := p.Start(b); err != nil || p.SkipAllQuestions() != nil {
		return id, nil, false
	}
	h, err := p.AnswerHeader()
	if err != nil || h.Type != dnsmessage.TypeTXT {
		return id, nil, false
	}
	r, err := p.TXTResource()
	if err != nil || len(r.TXT) != 1 {
		return id, nil, false
	}
	challenge, reason := carrier.ParseText(nil, []byte(r.TXT[0]))
	return id, challenge, reason == carrier.Accepted
}

// initiator begins an honest exchange: for the address of its client over HTTP, for a
// connection over DNS.
func (s Scenario) initiator(o *exchange.Operation, from, server netip.Addr, x carrier.Exchange) (*exchange.Initiator, *carrier.Message, error) {
	kind := carrier.Request4
	if s.DNS {
		kind, from, server = carrier.RequestConnection, carrier.ClientOf(x), carrier.ServerOf(carrier.DNS, zone)
	}
	var nonce [exchange.NonceSize]byte
	binary.BigEndian.PutUint64(nonce[:], rand.Uint64())
	i, err := exchange.NewInitiator(o, from, server, nonce)
	if err != nil {
		return nil, nil, err
	}
	m, err := carrier.New(kind, x, i.Request())
	return i, &m, err
}
