package insider

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"sallyport/bench/flood"
	"sallyport/bench/scenario"
	"sallyport/sessions/client"
)

// Scenario is an attack by clients.
type Scenario struct {
	Name      string
	Insiders  int
	Sequences float64 // a second, of all insiders together
	Beyond    bool    // beyond the goal: it cannot fail
}

// maxInsiders is the number of clients whose secrets the attacker has.
const maxInsiders = 50

// Scenarios returns all scenarios. The first one has no attack.
func Scenarios() []Scenario {
	return []Scenario{
		{Name: "none"},
		{Name: "one client, 200 sequences a second", Insiders: 1, Sequences: 200},
		{Name: "one client, 10,000 sequences a second", Insiders: 1, Sequences: 10_000},
		{Name: "fifty clients, 10,000 sequences a second", Insiders: maxInsiders, Sequences: 10_000, Beyond: true},
	}
}

const (
	ports     = 3
	clients   = 200 // honest clients, each with its own address
	addresses = 200 // source addresses of the insiders
)

var (
	firstClient  = netip.MustParseAddr("198.18.1.0")
	firstInsider = netip.MustParseAddr("198.19.0.0")
)

// nonces are the next nonces of all clients.
type nonces []uint32

// attempt makes the frames of the next attempt of client i.
func (n nonces) attempt(
	link flood.Link, profiles []client.Profile, i int, from netip.AddrPort, now time.Time,
) (frames [][]byte, err error) {
	knocks, err := scenario.Knocks(profiles[i], now, n[i])
	if err != nil {
		return nil, err
	}
	n[i] += uint32(len(knocks))
	for _, k := range knocks {
		frames = append(frames, link.Frame(from, k.Port, k.Payload))
	}
	return frames, nil
}

// stream makes all frames of a window. Each honest client makes one attempt.
func (s Scenario) stream(
	link flood.Link, profiles []client.Profile, n nonces, window time.Duration,
) (stream flood.Stream, err error) {
	now := time.Now()
	stream.For = window
	from := firstClient
	for i := range clients {
		from = from.Next()
		frames, err := n.attempt(link, profiles, maxInsiders+i, anyPort(from), now)
		if err != nil {
			return stream, err
		}
		stream.Honest = append(stream.Honest, frames...)
	}
	// Honest frames a second: the last one is sent before the end.
	honest := float64(len(stream.Honest)) / (0.9 * window.Seconds())
	stream.Every = 1
	stream.Rate = honest
	if s.Sequences == 0 {
		return stream, nil
	}
	attack := s.Sequences * ports
	stream.Rate += attack
	stream.Every = max(int(attack/honest), 1)
	from = firstInsider
	for i := range int(s.Sequences * window.Seconds() * 1.1) { // enough to send each only once
		if i%addresses == 0 {
			from = firstInsider
		}
		from = from.Next()
		frames, err := n.attempt(link, profiles, i%s.Insiders, anyPort(from), now)
		if err != nil {
			return stream, err
		}
		stream.Flood = append(stream.Flood, frames...)
	}
	return stream, nil
}

func anyPort(a netip.Addr) netip.AddrPort {
	return netip.AddrPortFrom(a, uint16(1024+rand.IntN(60000)))
}
