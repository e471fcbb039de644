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
	// floodFrames is how many different datagrams a flood has, each with a
	// source of its own; after them it begins again.
	floodFrames = 4096
	// honestRate is about how many honest attempts a second ride in a flood.
	honestRate = 200
)

// aimed makes the frames for one server.
type aimed struct {
	server  *target.Server
	link    flood.Link
	random  *rand.Rand
	nonces  []uint32 // the next one of each profile
	next    int      // attempt
	replays []scenario.Shot
}

func aimAt(s *target.Server, l flood.Link) *aimed {
	return &aimed{server: s, link: l, random: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())), nonces: make([]uint32, len(s.Profiles))}
}

func (a *aimed) aim(now time.Time) scenario.Aim {
	return scenario.Aim{Profiles: a.server.Profiles, Clients: a.server.Config.Clients, Now: now, Random: a.random, Replays: a.replays}
}

// attempt is an honest client's: its frames are in a stream's honest ones.
type attempt struct {
	source netip.Addr
	last   int // index of its last frame
}

// honest makes the frames of n attempts, stamped by when they will be sent.
// Each has a source address of its own, by which its grant is known.
func (a *aimed) honest(n int, others bool, when func(i int) time.Time) (frames [][]byte, attempts []attempt, shots []scenario.Shot, err error) {
	source := honestSources
	for i := range n {
		if others && a.next%len(a.nonces) == 0 {
			a.next++ // not the first client
		}
		who := a.next % len(a.nonces)
		a.next++
		knocks, err := scenario.Knocks(a.server.Profiles[who], when(i), a.nonces[who])
		if err != nil {
			return nil, nil, nil, err
		}
		a.nonces[who] += uint32(len(knocks))
		from := netip.AddrPortFrom(source, uint16(1024+a.random.IntN(60000)))
		for _, k := range knocks {
			frames = append(frames, a.link.Frame(from, k.Port, k.Payload))
		}
		shots = append(shots, knocks...)
		attempts = append(attempts, attempt{source, len(frames) - 1})
		source = source.Next()
	}
	return frames, attempts, shots, nil
}

// flood makes the frames of a kind.
func (a *aimed) flood(k scenario.Kind, now time.Time) ([][]byte, error) {
	shots, err := k.Shots(a.aim(now), floodFrames)
	if err != nil {
		return nil, err
	}
	return a.frames(shots), nil
}

func (a *aimed) frames(shots []scenario.Shot) [][]byte { return framesTo(a.link, a.random, shots) }

// framesTo gives each shot a source of its own.
func framesTo(l flood.Link, random *rand.Rand, shots []scenario.Shot) [][]byte {
	frames := make([][]byte, len(shots))
	source := floodSources
	for i, s := range shots {
		frames[i] = l.Frame(netip.AddrPortFrom(source, uint16(1024+random.IntN(60000))), s.Port, s.Payload)
		source = source.Next()
	}
	return frames
}

// atPort has shots go to one port, as a sink has only one.
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
	nobody := client.Profile{PortSecret: "nobody's", Ports: 1, Identifier: scenario.ClientID(0), Secret: []byte("nobody's"), Server: l.Host.String()}
	shots, err := k.Shots(scenario.Aim{Profiles: []client.Profile{nobody}, Clients: scenario.MaxClients, Now: now, Random: random}, floodFrames)
	if err != nil {
		return nil, fmt.Errorf("aim at the sink: %w", err)
	}
	return framesTo(l, random, atPort(shots, sinkPort)), nil
}

// varied has each frame name any of n clients.
func varied(n int) flood.Vary {
	if n < scenario.MaxClients {
		return flood.Vary{} // the frames name enough of them
	}
	first, last := scenario.ClientID(0), scenario.ClientID(scenario.MaxClients-1)
	v := flood.Vary{Offset: wire.OffsetIdentifier, Base: first}
	for i := range v.Mask {
		v.Mask[i] = first[i] ^ last[i]
	}
	return v
}
