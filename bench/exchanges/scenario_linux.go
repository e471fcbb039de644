package exchanges

import (
	"fmt"
	"math/rand/v2"
	"net/netip"

	"sallyport/bench/flood"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

// The operations' secret, which guards nothing: only the networks made here
// reach the server.
const (
	operationID = "bench-open"
	secret      = "floodbench floodbench floodbench"
)

// plan is the server's by default.
var plan = challenge.Plan{
	Request:  challenge.Encoding{Scheme: challenge.Ranges, Base: 16384, DataBits: 8},
	Response: challenge.Encoding{Scheme: challenge.Ranges, Base: 25600, DataBits: 8},
	Ports:    challenge.Ports{First: 16384, Last: 30719},
}

// frames is how many a flood has before it begins again.
const frames = 1 << 16

// Scenario is a flood.
type Scenario struct {
	Name     string
	Requests float64 // a second; 0: random packets
	Packets  float64 // a second, of random ones; 0: none
	Beyond   bool    // to see what becomes of it; nothing is promised
}

// Scenarios are those that are asked for of the server, and what it is like
// without.
func Scenarios() []Scenario {
	return []Scenario{
		{Name: "none"},
		{Name: "100,000 random empty packets a second", Packets: 100_000},
		{Name: "10,000 valid requests a second", Requests: 10_000},
		{Name: "40,000 valid requests a second", Requests: 40_000, Beyond: true},
	}
}

// stream makes a flood's frames, and says how many make a request.
func (s Scenario) stream(link flood.Link, o *exchange.Operation) (all [][]byte, request int, err error) {
	if s.Requests == 0 {
		span := int(plan.Ports.Last-plan.Ports.First) + 1
		for range frames {
			all = append(all, link.Frame(anywhere(), plan.Ports.First+uint16(rand.IntN(span)), nil))
		}
		return all, 1, nil
	}
	codec, err := plan.Request.Codec(o.RequestSize(false))
	if err != nil {
		return nil, 0, err
	}
	for len(all) < frames {
		source := anywhere()
		c, err := exchange.NewInitiator(o, source.Addr(), link.Host, [exchange.NonceSize]byte{})
		if err != nil {
			return nil, 0, err
		}
		ports, err := codec.AppendPorts(nil, c.Request())
		if err != nil {
			return nil, 0, fmt.Errorf("make a request: %w", err)
		}
		for _, p := range ports {
			all = append(all, link.Frame(source, p, nil))
		}
	}
	return all, codec.Packets(), nil
}

// anywhere is an address that nobody here has.
func anywhere() netip.AddrPort {
	n := rand.Uint32()
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{20 + byte(n>>24)%100, byte(n >> 16), byte(n >> 8), byte(n)}), uint16(1024+rand.IntN(60000)))
}
