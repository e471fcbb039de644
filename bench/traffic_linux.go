package bench

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"sallyport/bench/flood"
	"sallyport/bench/scenario"
	"sallyport/bench/target"
	"sallyport/sessions/client"
	"sallyport/verify/wire"
)

const (
	// floodFrames is the number of different datagrams in a flood, each with a
	// different source. The flood repeats them.
	floodFrames = 4096
	// honestRate is the approximate number of honest attempts a second in a flood.
	honestRate = 200
	// aloneRate is the same if only one client knocks: its survival is a figure, and
	// requires hundreds of knocks a window. The server does not grant it so many leases.
	aloneRate = 2000
)

// traffic makes the frames for one server.
type traffic struct {
	server  *target.Server
	link    flood.Link
	random  *rand.Rand
	nonces  []uint32 // the next nonce of each profile
	next    int      // the index of the next attempt
	replays []scenario.Shot
}

func trafficFor(s *target.Server, l flood.Link) *traffic {
	a := &traffic{
		server: s, link: l, random: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
		nonces: make([]uint32, len(s.Profiles)),
	}
	for i := range a.nonces {
		a.nonces[i] = 1 + a.random.Uint32N(firstNonces) // new secrets begin at a random nonce
	}
	return a
}

const firstNonces = 1 << 30

func (a *traffic) aim(now time.Time) scenario.Aim {
	return scenario.Aim{
		Profiles: a.server.Profiles, Clients: a.server.Config.Clients, Now: now, Random: a.random,
		Nonces: a.nonces, Replays: a.replays,
	}
}

// attempt is an attempt of an honest client. Its frames are among the honest
// frames of a stream.
type attempt struct {
	source netip.Addr
	last   int // index of its last frame
}

// knocking is which clients knock honestly.
type knocking int

const (
	everyClient knocking = iota
	allButFirst
	onlyFirst
)

func knockingIn(k scenario.Kind) knocking {
	switch {
	case k.Others:
		return allButFirst
	case k.Alone:
		return onlyFirst
	default:
		return everyClient
	}
}

// honest makes the frames of n attempts, with the times at which they will be
// sent. Each attempt has its own source address, which identifies its grant. A client
// that knocks alone has one network, whose addresses it uses again.
func (a *traffic) honest(
	n int, who knocking, when func(i int) time.Time,
) (frames [][]byte, attempts []attempt, shots []scenario.Shot, err error) {
	for i := range n {
		if who == allButFirst && a.next%len(a.nonces) == 0 {
			a.next++
		}
		profile, network := a.next%len(a.nonces), i/256
		if who == onlyFirst {
			profile, network = 0, 0
		}
		a.next++
		knocks, err := scenario.Knocks(a.server.Profiles[profile], when(i), a.nonces[profile])
		if err != nil {
			return nil, nil, nil, err
		}
		a.nonces[profile] += uint32(len(knocks))
		source := addressOf(honestSources, network, i)
		from := netip.AddrPortFrom(source, uint16(1024+a.random.IntN(60000)))
		for _, k := range knocks {
			frames = append(frames, a.link.Frame(from, k.Port, k.Payload))
		}
		shots = append(shots, knocks...)
		attempts = append(attempts, attempt{source, len(frames) - 1})
	}
	return frames, attempts, shots, nil
}

// flood makes the frames of a kind.
func (a *traffic) flood(k scenario.Kind, now time.Time) ([][]byte, error) {
	shots, err := k.Shots(a.aim(now), floodFrames)
	if err != nil {
		return nil, err
	}
	return framesTo(a.link, a.random, k.Sources, shots), nil
}

// framesTo makes a frame for each shot.
func framesTo(l flood.Link, random *rand.Rand, from scenario.Sources, shots []scenario.Shot) [][]byte {
	frames := make([][]byte, len(shots))
	for i, s := range shots {
		frames[i] = l.Frame(netip.AddrPortFrom(sourceOf(from, i), uint16(1024+random.IntN(60000))), s.Port, s.Payload)
	}
	return frames
}

// sourceOf returns the address of the i-th datagram of a flood. Those of many networks
// are all different.
func sourceOf(from scenario.Sources, i int) netip.Addr {
	switch from {
	case scenario.OneNetwork:
		return addressOf(floodSources, 0, i)
	case scenario.ClientsNetwork:
		return addressOf(honestSources, 0, i)
	default:
		return addressOf(floodSources, i%floodNetworks, i/floodNetworks)
	}
}

// addressOf returns an address in a network (/24), by their numbers after the first one.
func addressOf(first netip.Addr, network, host int) netip.Addr {
	a := first.As4()
	a[2], a[3] = a[2]+byte(network), byte(host)
	return netip.AddrFrom4(a)
}

// atPort returns the shots with one port as their destination: a sink has only
// one.
func atPort(shots []scenario.Shot, port uint16) []scenario.Shot {
	moved := make([]scenario.Shot, len(shots))
	for i, s := range shots {
		moved[i] = scenario.Shot{Port: port, Payload: s.Payload}
	}
	return moved
}

// forSink makes the frames of a kind for a bare sink.
func forSink(l flood.Link, k scenario.Kind, now time.Time) ([][]byte, error) {
	random := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	unregistered := client.Profile{
		PortSecret: "unused", Ports: 1, Server: l.Host.String(),
		Identifier: scenario.ClientID(0), Secret: []byte("unused"),
	}
	shots, err := k.Shots(scenario.Aim{
		Profiles: []client.Profile{unregistered}, Clients: scenario.MaxClients, Now: now, Random: random,
	}, floodFrames)
	if err != nil {
		return nil, fmt.Errorf("make the datagrams for the sink: %w", err)
	}
	return framesTo(l, random, k.Sources, atPort(shots, sinkPort)), nil
}

// varied returns the variation of a kind's frames at a server with n clients: bad HMACs
// name all of them, and unknown identifiers are as many.
func varied(k scenario.Kind, n int) flood.Vary {
	if n < scenario.MaxClients {
		return flood.Vary{} // the frames already name enough clients
	}
	first, last := scenario.ClientID(0), scenario.ClientID(scenario.MaxClients-1)
	v := flood.Vary{Offset: wire.OffsetIdentifier, Base: first}
	for i := range v.Mask {
		v.Mask[i] = first[i] ^ last[i]
	}
	switch {
	case k.Varied:
		return v
	case k.Name == "unknown":
		v.Base[3], v.Mask[3] = '0', 7 // the last character is a digit
		return v
	default:
		return flood.Vary{}
	}
}
