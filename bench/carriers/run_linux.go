package carriers

import (
	"bytes"
	"context"
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
	"sallyport/ingest/web"
	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

// The ports of the listeners.
const (
	httpPort = 80
	dnsPort  = 53
)

// page is the page of the site.
var page = bytes.Repeat([]byte("All is well. "), 160)

// Config configures Run.
type Config struct {
	Server   string        // sallyportd
	Window   time.Duration // for each scenario
	Progress func(done, of int, what string)
}

const (
	exchanges = 200 // honest exchanges of a scenario, each from another address
	visits    = 100 // of the site
	knockers  = 50  // clients that knock once
	inTime    = time.Second
	settling  = time.Second // after the flood, until all grants are reported
	readyTime = 10 * time.Second
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
	site := filepath.Join(dir, "site")
	if err := os.Mkdir(site, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(site, "index.html"), page, 0o644); err != nil {
		return nil, err
	}
	if w.server, err = target.StartServer(ctx, target.ServerConfig{
		Binary: cfg.Server, Dir: filepath.Join(dir, "server"), Address: serverAddress.String(), Web: 8080,
		Ports: 1, Clients: knockers, Core: w.cores[0], More: listeners(site),
	}); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.server.Stop()) }()
	if err := w.ready(ctx); err != nil {
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

// listeners is the configuration of the listeners and of the operation.
func listeners(site string) string {
	return fmt.Sprintf(`[challenge]
capture = "none"
[[challenge.http]]
listen = "%[1]s:%[2]d"
host = %[3]q
root = %[4]q
[challenge.dns]
listen = "%[1]s:%[5]d"
zone = %[6]q
servers = ["ns.example.org"]
[[operation]]
id = %[7]q
secret = %[8]q
service = "web"
`, serverAddress, httpPort, host, site, dnsPort, zone, operationID, secret)
}

// ready waits until the listeners are bound, which can be after the server is ready.
func (w *testbed) ready(ctx context.Context) error {
	for end := time.Now().Add(readyTime); ; time.Sleep(10 * time.Millisecond) {
		c, err := w.dial(nextHop)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return fmt.Errorf("wait for the listeners: %w", err)
		}
	}
}

// counts are totals since the start.
type counts struct{ requests, queries, refused, verified uint64 }

func (w *testbed) counts(ctx context.Context) (c counts, err error) {
	all, err := w.server.Counters(ctx)
	if err != nil {
		return c, err
	}
	c.requests, c.verified = all["http_requests"], all["carried_verified"]
	c.refused = all["http_limited"] + all["carried_rate_limited"]
	for o := range web.NumOutcomes {
		c.queries += all["dns_"+web.Outcome(o).String()]
	}
	return c, nil
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
	before, err := w.counts(ctx)
	if err != nil {
		return r, err
	}
	used, err := w.server.Usage()
	if err != nil {
		return r, err
	}
	begin, offset := time.Now(), clock.Offset()
	ticks, err := clock.TicksOf(w.cores)
	if err != nil {
		return r, err
	}
	out, err := play(ctx, s, window)
	if err != nil {
		return r, err
	}
	ended, err := clock.TicksOf(w.cores)
	if err != nil {
		return r, err
	}
	r.Stolen = clock.MostStolen(ticks, ended)
	seconds := time.Since(begin).Seconds()
	time.Sleep(settling) // until the last proofs and grants are reported
	after, err := w.counts(ctx)
	if err != nil {
		return r, err
	}
	spent, err := w.server.Usage()
	if err != nil {
		return r, err
	}
	opened, err := w.server.Opened()
	if err != nil {
		return r, err
	}
	r.Sent = out.frames
	received := after.requests - before.requests
	if s.DNS {
		received = after.queries - before.queries
		// The server reports no address for a connection, so these have no time each.
		r.Exchange.OK = int(after.verified - before.verified)
	}
	r.Received, r.Refused = float64(received)/seconds, float64(after.refused-before.refused)/seconds
	r.Core = (spent.Processor - used.Processor).Seconds() / seconds
	r.Before, r.After = float64(used.Resident)/(1<<20), float64(spent.Resident)/(1<<20)
	var took, pages []time.Duration
	for i, a := range out.attempts {
		if a.began == 0 {
			continue
		}
		r.Exchange.All++
		if at, ok := opened[from(firstClient, i)]; ok && at.UnixNano()-offset-a.began <= int64(inTime) {
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

// percentile returns a percentile in milliseconds; 0: there are no values.
func percentile(all []time.Duration, p int) float64 {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return float64(all[len(all)*p/100]) / float64(time.Millisecond)
}
