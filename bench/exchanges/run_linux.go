package exchanges

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sallyport/bench/clock"
	"sallyport/bench/flood"
	"sallyport/bench/target"
	"sallyport/verify/challenge/exchange"
)

// Config configures Run.
type Config struct {
	Server   string        // sallyportd
	Window   time.Duration // for each scenario
	Progress func(done, of int, what string)
}

const (
	clients   = 200 // honest clients, each with its own address
	prefixLen = 16
	settling  = 1500 * time.Millisecond // until the server's table is full

	// For steady.
	pause      = time.Second
	mostPauses = 15
	standstill = 256 << 10 // bytes
)

var (
	serverAddress = netip.MustParseAddr("198.18.0.1")
	nextHop       = netip.MustParseAddr("198.18.0.2")
	firstClient   = netip.MustParseAddr("198.18.1.0")
	honestPrefix  = netip.PrefixFrom(firstClient, 24)
)

// testbed is the two hosts, and the server on one of them.
type testbed struct {
	away      *flood.Neighbour
	server    *target.Server
	operation *exchange.Operation
	cores     []int
}

// Run measures. The caller must be root in its namespaces, and alone in them.
func Run(ctx context.Context, cfg Config) (results []Result, err error) {
	dir, err := os.MkdirTemp("", "floodbench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	w := new(testbed)
	if w.operation, err = exchange.NewOperation(operationID, secret, exchange.NATAware, false); err != nil {
		return nil, err
	}
	if w.cores, err = clock.Cores(); err != nil {
		return nil, err
	}
	var each []netip.Addr // an address for each honest client
	for a := firstClient; len(each) < clients; {
		a = a.Next()
		each = append(each, a)
	}
	if w.away, err = flood.NewNeighbour(serverAddress, nextHop, prefixLen, each...); err != nil {
		return nil, fmt.Errorf("create the network: %w", err)
	}
	defer w.away.Close()
	if w.server, err = target.StartServer(ctx, target.ServerConfig{
		Binary: cfg.Server, Dir: filepath.Join(dir, "server"), Address: serverAddress.String(), Web: 8080,
		Ports: 3, Clients: 1, Core: w.cores[0],
		More: fmt.Sprintf("[challenge]\n[[operation]]\nid = %q\nsecret = %q\nservice = \"web\"\n", operationID, secret),
	}); err != nil {
		return nil, err
	}
	defer w.server.Stop()
	all := Scenarios()
	for i, s := range all {
		cfg.Progress(i, len(all), s.Name)
		r, err := w.play(ctx, s, cfg.Window)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
		results = append(results, r)
	}
	cfg.Progress(len(all), len(all), "done")
	return results, nil
}

// play floods for a window, in which the honest clients take turns.
func (w *testbed) play(ctx context.Context, s Scenario, window time.Duration) (r Result, err error) {
	r.Scenario, r.Beyond = s.Name, s.Beyond
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	over := make(chan error, 1)
	var sent flood.Sent
	request := 1
	started := time.Now()
	if s.Packets+s.Requests > 0 {
		stream := flood.Stream{Rate: s.Packets, For: settling + window + time.Minute/2}
		if stream.Flood, request, err = s.stream(w.away.Link, w.operation); err != nil {
			return r, err
		}
		if s.Requests > 0 {
			stream.Rate = s.Requests * float64(request)
		}
		started = time.Now()
		go func() {
			var err error
			sent, err = w.away.Play(ctx, w.cores[len(w.cores)-1], stream)
			over <- err
		}()
	} else {
		over <- nil
	}
	time.Sleep(settling)
	if err := w.steady(); err != nil {
		return r, err
	}
	if _, err := w.server.Opened(); err != nil {
		return r, err
	}
	before, used, err := w.state(ctx)
	if err != nil {
		return r, err
	}
	ticks, err := clock.TicksOf(w.cores)
	if err != nil {
		return r, err
	}
	begin := time.Now()
	took, err := w.turns(ctx, window)
	if err != nil {
		return r, err
	}
	ended, err := clock.TicksOf(w.cores)
	if err != nil {
		return r, err
	}
	r.Stolen = clock.MostStolen(ticks, ended)
	seconds := time.Since(begin).Seconds()
	after, spent, err := w.state(ctx)
	if err != nil {
		return r, err
	}
	cancel()
	if err := <-over; err != nil {
		return r, err
	}
	elapsed := time.Since(started).Seconds()
	opened, err := w.server.Opened()
	if err != nil {
		return r, err
	}
	r.Honest = clients
	for a := range opened {
		if honestPrefix.Contains(a) {
			r.Granted++
		}
	}
	grown := func(name string) uint64 { return after[name] - before[name] }
	r.Packets = float64(sent.Frames) / elapsed
	if s.Requests > 0 {
		r.Requests = r.Packets / float64(request)
	}
	r.Challenges = float64(grown("exchange_answered")) / seconds
	r.Limited = float64(grown("exchange_rate_limited")) / seconds
	r.Missed, r.Evicted = grown("exchange_kernel"), grown("exchange_evicted")
	r.Processor = (spent.Processor - used.Processor).Seconds() / seconds
	r.Before, r.After = float64(used.Resident)/(1<<20), float64(spent.Resident)/(1<<20)
	slices.Sort(took)
	if n := len(took); n > 0 {
		ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
		r.P50ms, r.P99ms = ms(took[n/2]), ms(took[n*99/100])
	}
	return r, nil
}

// steady waits until the server's memory no longer grows, for a limited time.
// Between two garbage collections, garbage can reach the size of the memory in
// use. Memory that the flood makes the server keep would continue to grow.
func (w *testbed) steady() error {
	last, err := w.server.Usage()
	for i := 0; i < mostPauses && err == nil; i++ {
		time.Sleep(pause)
		var now target.Usage
		if now, err = w.server.Usage(); err == nil && now.Resident < last.Resident+standstill {
			return nil
		}
		last = now
	}
	return err
}

// state reads the server's counters and usage.
func (w *testbed) state(ctx context.Context) (map[string]uint64, target.Usage, error) {
	counters, err := w.server.Counters(ctx)
	if err != nil {
		return nil, target.Usage{}, err
	}
	used, err := w.server.Usage()
	if err != nil {
		return nil, target.Usage{}, err
	}
	// The packets are captured by another process, on the same core.
	used.Processor, err = w.server.FamilyTime()
	return counters, used, err
}

// turns runs the exchanges of the honest clients, spread over the window.
func (w *testbed) turns(ctx context.Context, window time.Duration) (took []time.Duration, err error) {
	type outcome struct {
		took time.Duration
		err  error
	}
	outcomes := make(chan outcome, clients)
	a := firstClient
	for range clients {
		a = a.Next()
		go func() {
			var o outcome
			o.err = w.away.Host.Do(func() (err error) {
				o.took, err = honest(w.operation, a, serverAddress)
				return err
			})
			outcomes <- o
		}()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(window / clients):
		}
	}
	for range clients {
		o := <-outcomes
		if o.err != nil {
			return nil, o.err
		}
		if o.took > 0 {
			took = append(took, o.took)
		}
	}
	// Time for the last response, and for the report of the last grant.
	time.Sleep(100 * time.Millisecond)
	return took, nil
}
