package insider

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
	"sallyport/bench/netns"
	"sallyport/bench/target"
)

// Config configures Run.
type Config struct {
	Server   string        // sallyportd
	Window   time.Duration // for each scenario
	Progress func(done, of int, what string)
}

const (
	prefixLen = 15
	settling  = time.Second // until the last grants are reported
)

var (
	serverAddress = netip.MustParseAddr("198.18.0.1")
	nextHop       = netip.MustParseAddr("198.18.0.2")
)

// behindFirewall configures services of another program. The insiders have rights
// to one of them, the honest clients to both.
const behindFirewall = `[[service]]
name = "wiki"
type = "firewall"
listen = ":8081"
open_for = "1m"
[[service]]
name = "ssh"
type = "firewall"
listen = ":22"
open_for = "1m"
`

// testbed is the two hosts, and the server on one of them.
type testbed struct {
	away   *flood.Neighbour
	server *target.Server
	nonces nonces
	cores  []int
}

// Run measures. The caller must be root in its namespaces, and alone in them.
func Run(ctx context.Context, cfg Config) (results []Result, err error) {
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
	// The other host can send packets from any address.
	if w.away, err = flood.NewNeighbour(serverAddress, nextHop, prefixLen); err != nil {
		return nil, fmt.Errorf("create the network: %w", err)
	}
	defer w.away.Close()
	all := Scenarios()
	for i, firewall := range []bool{false, true} {
		server := target.ServerConfig{
			Binary: cfg.Server, Dir: filepath.Join(dir, fmt.Sprintf("server-%d", i)),
			Address: serverAddress.String(), Web: 8080, Ports: ports,
			Clients: maxInsiders + clients, Honest: maxInsiders + clients, Core: w.cores[0], Strict: true,
		}
		services := "web" // of the insiders
		if firewall {
			server.More, services = behindFirewall, "wiki"
		}
		server.Services = func(i int) string {
			if i < maxInsiders {
				return services
			}
			return ""
		}
		if w.server, err = target.StartServer(ctx, server); err != nil {
			return nil, err
		}
		w.nonces = make(nonces, maxInsiders+clients)
		for j, s := range all {
			cfg.Progress(i*len(all)+j, 2*len(all), s.Name)
			r, err := w.play(ctx, s, cfg.Window)
			if err != nil {
				w.server.Stop()
				return nil, fmt.Errorf("%s: %w", s.Name, err)
			}
			r.Firewall = firewall
			results = append(results, r)
		}
		if err := w.server.Stop(); err != nil {
			return nil, err
		}
	}
	cfg.Progress(2*len(all), 2*len(all), "done")
	return results, nil
}

// play attacks for a window, in which each honest client makes its attempt.
func (w *testbed) play(ctx context.Context, s Scenario, window time.Duration) (r Result, err error) {
	stream, err := s.stream(w.away.Link, w.server.Profiles, w.nonces, window)
	if err != nil {
		return r, err
	}
	if _, err := w.server.Opened(); err != nil {
		return r, err
	}
	before, used, err := w.state(ctx)
	if err != nil {
		return r, err
	}
	begin, offset := time.Now(), clock.Offset()
	sent, err := w.away.Play(ctx, w.cores[len(w.cores)-1], stream)
	if err != nil {
		return r, err
	}
	seconds := time.Since(begin).Seconds()
	after, spent, err := w.state(ctx)
	if err != nil {
		return r, err
	}
	time.Sleep(settling)
	opened, err := w.server.Opened()
	if err != nil {
		return r, err
	}
	r.Scenario, r.Beyond = s.Name, s.Beyond
	var took []time.Duration
	from := firstClient
	for i := range clients {
		from = from.Next()
		at := sent.Honest[(i+1)*ports-1]
		if at == 0 {
			continue
		}
		r.Honest++
		if granted, ok := opened[from]; ok {
			r.Granted++
			took = append(took, time.Duration(granted.UnixNano()-offset-at))
		}
	}
	if r.Honest == 0 {
		return r, fmt.Errorf("%s: no honest attempt was sent", s.Name)
	}
	if s.Sequences > 0 {
		r.Sequences = (float64(sent.Frames)/ports - float64(r.Honest)) / seconds
	}
	grown := func(name string) float64 { return float64(after[name]-before[name]) / seconds }
	r.Opened, r.Limited = grown("session_opened"), grown("session_rate_limited")
	r.Superseded, r.Unrecorded = grown("session_superseded"), grown("session_unrecorded")
	r.Missed = after["kernel"] - before["kernel"] + after["overrun"] - before["overrun"]
	r.LogLines = spent.LogLines - used.LogLines
	r.Processor = (spent.Processor - used.Processor).Seconds() / seconds
	slices.Sort(took)
	if n := len(took); n > 0 {
		ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
		r.P50ms, r.P99ms = ms(took[n/2]), ms(took[n*99/100])
	}
	return r, nil
}

// state reads the server's counters and usage.
func (w *testbed) state(ctx context.Context) (map[string]uint64, target.Usage, error) {
	counters, err := w.server.Counters(ctx)
	if err != nil {
		return nil, target.Usage{}, err
	}
	used, err := w.server.Usage()
	return counters, used, err
}
