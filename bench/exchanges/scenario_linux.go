package exchanges

import (
	"fmt"
	"math/rand/v2"
	"net/netip"

	"sallyport/bench/flood"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

// The operation's secret. It need not be secret: the server is reachable only from
// the networks created here.
const (
	operationID = "bench-open"
	secret      = "floodbench floodbench floodbench"
)

// plan is the server's default.
var plan = challenge.Plan{
	Request:  challenge.Encoding{Scheme: challenge.Ranges, Base: 16384, DataBits: 8},
	Response: challenge.Encoding{Scheme: challenge.Ranges, Base: 25600, DataBits: 8},
	Ports:    challenge.Ports{First: 16384, Last: 30719},
}

// frames is the number of frames in a flood, which repeats them.
const frames = 1 << 16

// Scenario is a flood.
type Scenario struct {
	Name     string
	Requests float64 // a second; 0: random packets
	Packets  float64 // random packets a second; 0: none
	Beyond   bool    // beyond the goal: it cannot fail by its grants
}

// Scenarios returns all scenarios. The first one has no flood.
func Scenarios() []Scenario {
	return []Scenario{
		{Name: "none"},
		{Name: "100,000 random empty packets a second", Packets: 100_000},
		{Name: "10,000 valid requests a second", Requests: 10_000},
		{Name: "40,000 valid requests a second", Requests: 40_000, Beyond: true},
	}
}

// stream makes the frames of a flood, and returns the number of frames in a
// request.
func (s Scenario) stream(link flood.Link, o *exchange.Operation) (all [][]byte, request int, err error) {
	if s.Requests == 0 {
		span := int(plan.Ports.Last-plan.Ports.First) + 1
		for range frames {
			all = append(all, link.Frame(randomSource(), plan.Ports.First+uint16(rand.IntN(span)), nil))
		}
		return all, 1, nil
	}
	codec, err := plan.Request.Codec(o.RequestSize(false))
	if err != nil {
		return nil, 0, err
	}
	for len(all) < frames {
		source := randomSource()
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

// randomSource returns a random address that neither host has.
func randomSource() netip.AddrPort {
	n := rand.Uint32()
	address := netip.AddrFrom4([4]byte{20 + byte(n>>24)%100, byte(n >> 16), byte(n >> 8), byte(n)})
	return netip.AddrPortFrom(address, uint16(1024+rand.IntN(60000)))
}
