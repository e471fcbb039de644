package carriers

import (
	"context"
	"encoding/json"
	"errors"
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
	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

// Config configures Run.
type Config struct {
	Server   string        // sallyportd, which receives the knocks
	Target   []string      // the arguments with which this program calls RunTarget, without the address
	Window   time.Duration // for each scenario
	Progress func(done, of int, what string)
}

const (
	exchanges = 200 // honest exchanges of a scenario, each from another address
	visits    = 100 // of the site
	knockers  = 50  // clients that knock once
	inTime    = time.Second
	settling  = time.Second // before and after the honest clients
	prefixLen = 15
)

var (
	serverAddress = netip.MustParseAddr("198.18.0.1")
	nextHop       = netip.MustParseAddr("198.18.0.2")
	firstClient   = netip.MustParseAddr("198.18.1.0")
	firstKnocker  = netip.MustParseAddr("198.18.2.0")
	firstAttacker = netip.MustParseAddr("198.19.0.0")
)

// attackers is the number of addresses that send a flood over TCP, where an attacker
// cannot forge them.
const attackers = 8

// from returns address i after one.
func from(first netip.Addr, i int) netip.Addr {
	a := first.As4()
	a[3] += byte(i + 1)
	return netip.AddrFrom4(a)
}

// testbed is the two hosts, and the programs on the first.
type testbed struct {
	away      *flood.Neighbour
	server    *target.Server
	child     *target.Child
	reports   chan line
	operation *exchange.Operation
	nonces    []uint32
	cores     []int
}

// Run measures. The caller must be root in its namespaces, and alone in them.
func Run(ctx context.Context, cfg Config) (results []Result, err error) {
	dir, err := os.MkdirTemp("", "floodbench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	w := &testbed{nonces: make([]uint32, knockers)}
	if w.operation, err = exchange.NewOperation(operationID, secret, exchange.NATAware, false); err != nil {
		return nil, err
	}
	if w.cores, err = clock.Cores(); err != nil {
		return nil, err
	}
	if err := clock.Avoid(w.cores[0]); err != nil {
		return nil, err
	}
	if err := netns.LoopbackUp(); err != nil {
		return nil, err
	}
	var addresses []netip.Addr // of those that use TCP
	for i := range exchanges {
		addresses = append(addresses, from(firstClient, i))
	}
	for i := range attackers {
		addresses = append(addresses, from(firstAttacker, i))
	}
	for i := range knockers {
		addresses = append(addresses, from(firstKnocker, i))
	}
	if w.away, err = flood.NewNeighbour(serverAddress, nextHop, prefixLen, addresses...); err != nil {
		return nil, fmt.Errorf("create the network: %w", err)
	}
	defer w.away.Close()
	if w.server, err = target.StartServer(ctx, target.ServerConfig{
		Binary: cfg.Server, Dir: filepath.Join(dir, "server"), Address: serverAddress.String(), Web: 8080,
		Ports: 1, Clients: knockers, Core: w.cores[0],
	}); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.server.Stop()) }()
	if w.child, err = target.StartChild(ctx, w.cores[0], append(cfg.Target, serverAddress.String())...); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.child.Stop()) }()
	w.reports = make(chan line, 4*exchanges)
	go w.read()
	if _, _, err := w.counts(); err != nil {
		return nil, err
	}
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

// read reads the output of the target until it ends.
func (w *testbed) read() {
	defer close(w.reports)
	for w.child.Out.Scan() {
		var r line
		if json.Unmarshal(w.child.Out.Bytes(), &r) == nil {
			w.reports <- r
		}
	}
}

// counts returns the counts of the target, and the proofs that it has written before.
func (w *testbed) counts() (c counts, proofs map[carrier.Exchange]int64, err error) {
	if _, err := w.child.In.Write([]byte("?\n")); err != nil {
		return c, nil, fmt.Errorf("ask the listeners' process: %w", err)
	}
	proofs = map[carrier.Exchange]int64{}
	for r := range w.reports {
		if r.Counts != nil {
			return *r.Counts, proofs, nil
		}
		proofs[r.Exchange] = r.At
	}
	return c, nil, errors.New("the listeners' process has ended")
}

// attempt is an honest exchange.
type attempt struct {
	exchange carrier.Exchange
	// began is on the monotonic clock in ns, later by the time that the client has waited
	// for its turns; 0: it has not begun.
	began int64
	took  time.Duration
}

// outcome is what a scenario has sent.
type outcome struct {
	frames   float64 // requests or queries of the flood a second
	attempts []attempt
	visits   []time.Duration // 0: the page did not come in time
	knocks   int             // sent
}

// play floods for a window, in which all honest clients take their turn.
func (w *testbed) play(ctx context.Context, s Scenario, window time.Duration) (r Result, err error) {
	r.Scenario, r.Beyond, r.Planned = s.Name, s.Beyond, s.Rate
	play := w.playHTTP
	if s.DNS {
		play = w.playDNS
	}
	if _, err := w.server.Opened(); err != nil {
		return r, err
	}
	before, _, err := w.counts()
	if err != nil {
		return r, err
	}
	used, err := w.child.Usage()
	if err != nil {
		return r, err
	}
	begin := time.Now()
	ticks, err := w.ticks()
	if err != nil {
		return r, err
	}
	out, err := play(ctx, s, window)
	if err != nil {
		return r, err
	}
	ended, err := w.ticks()
	if err != nil {
		return r, err
	}
	for i := range ended {
		r.Stolen = max(r.Stolen, ended[i].StolenShare(ticks[i]))
	}
	seconds := time.Since(begin).Seconds()
	time.Sleep(settling) // until the last proofs and grants are reported
	after, proofs, err := w.counts()
	if err != nil {
		return r, err
	}
	spent, err := w.child.Usage()
	if err != nil {
		return r, err
	}
	opened, err := w.server.Opened()
	if err != nil {
		return r, err
	}
	r.Sent = out.frames
	received := after.Requests - before.Requests
	if s.DNS {
		received = after.Queries - before.Queries
	}
	r.Received, r.Refused = float64(received)/seconds, float64(after.Refused-before.Refused)/seconds
	r.Core = (spent.Processor - used.Processor).Seconds() / seconds
	r.Before, r.After = float64(used.Resident)/(1<<20), float64(spent.Resident)/(1<<20)
	var took, pages []time.Duration
	for _, a := range out.attempts {
		if a.began == 0 {
			continue
		}
		r.Exchange.All++
		if at := proofs[a.exchange]; at > 0 && at-a.began <= int64(inTime) {
			r.Exchange.OK++
		}
		if a.took > 0 {
			took = append(took, a.took)
		}
	}
	for _, v := range out.visits {
		r.Site.All++
		if v > 0 {
			r.Site.OK++
			pages = append(pages, v)
		}
	}
	r.Knocks.All = out.knocks
	for i := range knockers {
		if _, ok := opened[from(firstKnocker, i)]; ok {
			r.Knocks.OK++
		}
	}
	r.P50ms, r.P99ms = percentile(took, 50), percentile(took, 99)
	r.SiteP99 = percentile(pages, 99)
	return r, nil
}

// ticks returns what each core has done so far.
func (w *testbed) ticks() (all []clock.Ticks, err error) {
	for _, core := range w.cores {
		t, err := clock.CoreTicks(core)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

// percentile returns a percentile in milliseconds; 0: there are no values.
func percentile(all []time.Duration, p int) float64 {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return float64(all[len(all)*p/100]) / float64(time.Millisecond)
}
