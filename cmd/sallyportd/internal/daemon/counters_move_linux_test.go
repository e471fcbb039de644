package daemon

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/bench/race"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/fleetlist"
	"sallyport/cmd/sallyportd/internal/metrics"
	"sallyport/sessions/clock"
	"sallyport/sessions/fleet/etcdtest"
	"sallyport/sessions/fleet/roster"
	"sallyport/sessions/state"
	"sallyport/verify/wire"
)

// TestEveryCounterMoves finds all counters in the memory of a server that has all parts,
// whatever their names: each atomic.Uint64 that its pointers lead to, and each number of a
// type Stats. Each must move a sample of the metrics when it grows, or be in notCounts, with
// the reason; and each counter among the samples must be moved by one that was found. So a
// counter that is new in the code fails this test until it has a metric.
//
// Nothing arrives at this server: the counters grow by the test's hand, so that none is left
// out. TestDatagramsMoveTheirSamples, TestKnocksMoveTheirSamples, TestStatus and
// TestPrometheus send real datagrams, and the tests of each part its other events. The
// program of the shield counts in the kernel: the tests of package xdp make it count frames
// of each kind.
func TestEveryCounterMoves(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	var lines logCounters
	s := serverWithAllParts(t, &lines)
	w := walker{seen: map[walked]bool{}, found: map[string]func(uint64){}}
	w.walk("Log", reflect.ValueOf(&lines))
	w.walk("Server", reflect.ValueOf(s)) // no goroutine of it runs yet
	s.runUntilEnd(t)
	if !race.Enabled { // which does not know that the zone only waits
		w.walk("Server.challenge.carriers.zone.now", reflect.ValueOf(s.challenge.carriers.zone.now.Load()))
	}
	text := metrics.New(s.status).Text
	read := func() map[string]string {
		var b bytes.Buffer
		if err := text(&b); err != nil {
			t.Fatal(err)
		}
		all := map[string]string{}
		for _, m := range counterSample.FindAllStringSubmatch(b.String(), -1) {
			all[m[1]] = m[2]
		}
		return all
	}
	left, moves := read(), 0
	if race.Enabled {
		maps.DeleteFunc(left, func(sample, _ string) bool { return strings.HasPrefix(sample, metrics.DNS) })
	}
	for path, add := range w.found {
		if is := slices.ContainsFunc(notCounts, func(row noCount) bool { return row.path.MatchString(path) }); is {
			continue
		}
		before, moved := read(), false
		add(1 << 40) // more than anything else counts meanwhile
		for sample, value := range read() {
			if grown := number(t, value) - number(t, before[sample]); grown >= 1<<40 {
				moved = true
				delete(left, sample)
			}
		}
		add(^uint64(1<<40) + 1)
		if !moved {
			t.Errorf("%s moves no sample", path)
			continue
		}
		moves++
	}
	for sample := range left {
		t.Errorf("no counter moves %s", sample)
	}
	for _, row := range notCounts {
		if !race.Enabled && !slices.ContainsFunc(slices.Collect(maps.Keys(w.found)), row.path.MatchString) {
			t.Errorf("nothing is excepted by %s", row.path)
		}
	}
	t.Logf("%d counters move their samples", moves)
}

// noCount is numbers that need no sample, and why.
type noCount struct {
	path *regexp.Regexp
	why  string
}

var notCounts = []noCount{
	{regexp.MustCompile(`\.(queue|free)\.(head|tail)$`), "places in a ring"},
	{regexp.MustCompile(`\.counts\.ended\[1[2-9]\]$`), "places for reasons that the code does not have"},
	{regexp.MustCompile(`\.observed\.(lost|holders)$`), "here is no holder: a test of command sallyport kills one, and reads its restarts"},
	{regexp.MustCompile(`\.capture\.source\.counts\.(answers|failures)$`), "the table of exchanges counts them as answered and send_failed"},
	{regexp.MustCompile(`\.zone\.now\.responder\.receiver\.refused$`), "queries have no share of their source: they are limited before, as dns_limited"},
	{regexp.MustCompile(`\.relay\.node\.stats\.(Relayed|Dropped)$`), "the sender of the relay counts them"},
	{regexp.MustCompile(`\.Version$`), "the version of the list, a gauge"},
}

var counterSample = regexp.MustCompile(`(?m)^([a-z_]+_(?:total|count)(?:\{[^}]*\})?) (\S+)$`)

func number(t *testing.T, text string) float64 {
	t.Helper()
	if text == "" {
		return 0
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// logCounters are the counters of a log.
type logCounters struct{ dropped, leftOut atomic.Uint64 }

// droppingPrograms is a runner that has dropped lines of output.
type droppingPrograms struct {
	Programs
	lines atomic.Uint64
}

func (p *droppingPrograms) Dropped() uint64 { return p.lines.Load() }

// serverWithAllParts makes a server with all parts that count, which does not run yet. lines is how many lines its
// log has dropped.
func serverWithAllParts(t *testing.T, lines *logCounters) *Server {
	t.Helper()
	e := etcdtest.Start(t, etcdtest.Options{})
	dir := t.TempDir()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(roster.NewKeyFile(filepath.Join(dir, "clients_key")))
	check(os.Mkdir(filepath.Join(dir, "state"), 0o700))
	check(state.Create(filepath.Join(dir, "state")))
	for name, text := range map[string]string{"c.toml": fmt.Sprintf(everyPart, e.Gateway(t).Endpoints()[0]), "relay.key": "0123456789abcdef0123456789abcdef\n"} {
		check(os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	cfg, err := config.Load(filepath.Join(dir, "c.toml"), config.All)
	check(err)
	log := slog.New(slog.DiscardHandler)
	editor, err := fleetlist.Open(cfg, time.Now, log)
	check(err)
	check(editor.Roster().Replace(t.Context(), func(yield func(roster.Entry) bool) {
		yield(roster.Entry{ID: wire.Identifier([]byte("com1")), Line: []byte("com1 0123456789abcdef0123456789abcdef0123456789abcdef 0")})
	}))
	editor.Close()
	file, loaded, err := fleetlist.Start(t.Context(), cfg, time.Now, log)
	check(err)
	s, err := New(t.Context(), cfg, loaded.List, nil, Env{Clock: clock.System(), Log: log, LogDropped: lines.dropped.Load, LogLeftOut: lines.leftOut.Load, ClientsCopy: file, Programs: &droppingPrograms{Programs: &fakePrograms{gone: make(chan struct{})}}})
	check(err)
	return s
}

// runUntilEnd runs the server until the end of the test, and waits until all is bound.
func (s *Server) runUntilEnd(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-s.Ready()
	netns.Until(t, "the carriers are bound", func() bool {
		unbound := map[string]string{}
		s.challenge.carriers.waiting(unbound)
		return len(unbound) == 0 && s.challenge.carriers.zone.now.Load() != nil
	})
}

// everyPart is a configuration of all parts that count, with the endpoint of etcd.
const everyPart = `
listen = ["127.0.0.1"]
ports = 2
port_secret = "the port secret"
clients = "fleet"
[[service]]
name = "web"
type = "web"
listen = "127.0.0.1:8080"
spread = "all"
[[service]]
name = "names"
type = "proxy"
protocol = "udp"
listen = "127.0.0.1:5300"
upstream = "127.0.0.1:5301"
[[service]]
name = "proved"
type = "proxy"
listen = "127.0.0.1:8443"
upstream = "127.0.0.1:2223"
bind = "connection"
[challenge]
ports = "16384-31000"
[[challenge.http]]
listen = "127.0.0.1:80"
host = "www.example.org"
tunnel = true
[challenge.dns]
listen = "127.0.0.1:53"
zone = "t.example.org"
servers = ["ns.example.org"]
[[operation]]
id = "open-web"
secret = "the secret of one"
service = "web"
[fleet]
name = "gw1"
endpoints = [%q]
relay = ["gw1=127.0.0.1:7400", "gw2=127.0.0.2:7400"]
relay_key_file = "relay.key"
`
