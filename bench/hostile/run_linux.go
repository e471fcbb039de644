package hostile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"sallyport/bench/clock"
	"sallyport/bench/flood"
	"sallyport/bench/netns"
	"sallyport/bench/scenario"
	"sallyport/bench/target"
)

// Config configures Run.
type Config struct {
	Server   string // sallyportd
	Pieces   int
	Count    int     // datagrams a piece
	Rate     float64 // a second
	Progress func(done, of int, what string)
}

const (
	ports     = 3
	clients   = 100
	captured  = 20 // honest attempts, whose knocks are replayed and changed
	prefixLen = 15
	distinct  = 1 << 13 // different datagrams of a class in a piece
	// settling is the limit for the wait until the server has counted everything.
	settling = 5 * time.Second
)

var (
	serverAddress = netip.MustParseAddr("198.18.0.1")
	nextHop       = netip.MustParseAddr("198.18.0.2")
	honest        = netip.MustParseAddr("198.18.1.1")
)

type testbed struct {
	away   *flood.Neighbour
	server *target.Server
	cores  []int
	nonce  uint32
}

// Run sends pieces, and stops after one with a violation. The caller must be root in its
// namespaces, and alone in them.
func Run(ctx context.Context, cfg Config) (pieces []Piece, err error) {
	dir, err := os.MkdirTemp("", "floodbench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	w := new(testbed)
	if w.cores, err = clock.Cores(); err != nil {
		return nil, err
	}
	if err := netns.LoopbackUp(); err != nil {
		return nil, err
	}
	if w.away, err = flood.NewNeighbour(serverAddress, nextHop, prefixLen); err != nil {
		return nil, fmt.Errorf("create the network: %w", err)
	}
	defer w.away.Close()
	if w.server, err = target.StartServer(ctx, target.ServerConfig{
		Binary: cfg.Server, Dir: filepath.Join(dir, "server"), Address: serverAddress.String(), Web: 8080,
		Ports: ports, Clients: clients, Core: w.cores[0], Unfiltered: true,
	}); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.server.Stop()) }()
	for i := range cfg.Pieces {
		cfg.Progress(i, cfg.Pieces, fmt.Sprintf("piece %d", i+1))
		p, err := w.piece(ctx, cfg)
		if err != nil {
			return pieces, err
		}
		if pieces = append(pieces, p); p.Failure() != "" {
			break
		}
	}
	return pieces, nil
}

// piece sends each class for its share of the datagrams. All ports are drawn again for each.
func (w *testbed) piece(ctx context.Context, cfg Config) (p Piece, err error) {
	all := classes()
	for _, c := range all {
		aim := scenario.Aim{
			Profiles: w.server.Profiles, Clients: clients, Now: time.Now(),
			Random: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
		}
		if aim.Replays, err = w.capture(ctx, aim.Now); err != nil {
			return p, err
		}
		shots, err := c.make(aim, distinct)
		if err != nil {
			return p, fmt.Errorf("%s: %w", c.name, err)
		}
		stream := flood.Stream{Rate: cfg.Rate, For: time.Duration(float64(cfg.Count) / float64(len(all)) / cfg.Rate * float64(time.Second))}
		for _, s := range shots {
			source := netip.AddrFrom4([4]byte{11 + byte(rand.IntN(90)), byte(rand.Uint32()), byte(rand.Uint32()), byte(rand.Uint32())})
			stream.Flood = append(stream.Flood, w.away.Link.Frame(netip.AddrPortFrom(source, uint16(1024+rand.IntN(60000))), s.Port, s.Payload))
		}
		r, err := w.class(ctx, stream)
		if err != nil {
			return p, fmt.Errorf("%s: %w", c.name, err)
		}
		r.Name = c.name
		p.Classes = append(p.Classes, r)
	}
	return p, nil
}

// class plays a stream, and waits until the server has counted it.
func (w *testbed) class(ctx context.Context, stream flood.Stream) (r Class, err error) {
	if _, err := w.server.Opened(); err != nil {
		return r, err
	}
	before, err := w.server.Counters(ctx)
	if err != nil {
		return r, err
	}
	sent, err := w.away.Play(ctx, w.cores[len(w.cores)-1], stream)
	if err != nil {
		return r, err
	}
	r.Sent = sent.Frames
	for end := time.Now().Add(settling); ; time.Sleep(10 * time.Millisecond) {
		after, err := w.server.Counters(ctx)
		if err != nil {
			return r, err
		}
		r.Counters = grown(before, after)
		if r.counted() == r.Sent || time.Now().After(end) {
			break
		}
	}
	opened, err := w.server.Opened()
	r.Grants = len(opened)
	return r, err
}

// grown returns by how much the counters of refused datagrams have grown.
func grown(before, after map[string]uint64) map[string]uint64 {
	m := map[string]uint64{}
	for name, n := range after {
		if n > before[name] {
			m[name] = n - before[name]
		}
	}
	maps.DeleteFunc(m, func(name string, _ uint64) bool { return others[name] })
	return m
}

// others are counters of other things than datagrams, and sums of counters.
var others = map[string]bool{
	"received": true, "authentic": true,
	"log_left_out": true, "log_dropped": true, "state_failures": true, "port_failures": true, "program_output_dropped": true,
}

// capture makes honest attempts, and returns their knocks when each of them has opened the
// service.
func (w *testbed) capture(ctx context.Context, now time.Time) (shots []scenario.Shot, err error) {
	if _, err := w.server.Opened(); err != nil {
		return nil, err
	}
	var stream flood.Stream
	from := honest
	for i := range captured {
		knocks, err := scenario.Knocks(w.server.Profiles[i], now, w.nonce)
		if err != nil {
			return nil, err
		}
		for _, k := range knocks {
			stream.Honest = append(stream.Honest, w.away.Link.Frame(netip.AddrPortFrom(from, 40000), k.Port, k.Payload))
		}
		shots = append(shots, knocks...)
		from = from.Next()
	}
	w.nonce += ports
	stream.Every, stream.Rate, stream.For = 1, 2000, 200*time.Millisecond
	if _, err := w.away.Play(ctx, w.cores[len(w.cores)-1], stream); err != nil {
		return nil, err
	}
	opened := map[netip.Addr]time.Time{}
	for end := time.Now().Add(settling); len(opened) < captured; time.Sleep(10 * time.Millisecond) {
		more, err := w.server.Opened()
		if err != nil {
			return nil, err
		}
		maps.Copy(opened, more)
		if time.Now().After(end) {
			return nil, fmt.Errorf("%d of %d honest attempts have opened the service", len(opened), captured)
		}
	}
	return shots, nil
}
