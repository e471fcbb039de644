package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"sallyport/bench/target"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/fleetlist"
	"sallyport/sessions"
	"sallyport/sessions/clock"
	"sallyport/sessions/fleet/etcdtest"
	"sallyport/sessions/fleet/roster"
	"sallyport/sessions/state"
	"sallyport/verify/wire"
)

// BenchmarkList measures how long changes of the list take until they are in force at a
// server. add: one client. revoke: until the lease of a removed client has ended. burst: the
// same, right after ten clients were added one by one.
func BenchmarkList(b *testing.B) {
	for _, n := range []int{1000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("clients=%d", n), func(b *testing.B) { benchList(b, n) })
	}
}

func benchList(b *testing.B, n int) {
	e := etcdtest.Start(b, etcdtest.Options{Quota: 6 << 30})
	dir := b.TempDir()
	path := filepath.Join(dir, config.FileName)
	text := fmt.Sprintf("listen = [\"127.0.0.1\"]\nports = 3\nport_secret = \"the port secret\"\nclients = \"fleet\"\n"+
		"[[service]]\nname = \"web\"\ntype = \"web\"\nlisten = \"127.0.0.1:18080\"\nopen_for = \"1h\"\nopen_max = \"1h\"\n"+
		"[fleet]\nname = \"one\"\nendpoints = [%q]\ntimeout = \"10s\"\n", e.Gateway(b).Endpoints()[0])
	check := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	check(os.WriteFile(path, []byte(text), 0o600))
	check(os.Mkdir(filepath.Join(dir, "state"), 0o700))
	check(state.Create(filepath.Join(dir, "state")))
	check(roster.NewKeyFile(filepath.Join(dir, "clients_key")))
	cfg, err := config.Load(path, config.All)
	check(err)
	log := slog.New(slog.DiscardHandler)
	editor, err := fleetlist.Open(cfg, time.Now, log)
	check(err)
	defer editor.Close()
	start := time.Now()
	check(editor.Roster().Replace(b.Context(), func(yield func(roster.Entry) bool) {
		for i := range n {
			id := benchID(i)
			line := fmt.Sprintf("%s 0123456789abcdef0123456789abcdef0123456789abcdef%08x 0", id, i)
			if !yield(roster.Entry{ID: id, Line: []byte(line)}) {
				return
			}
		}
	}))
	imported := time.Since(start)
	start = time.Now()
	file, loaded, err := fleetlist.Start(b.Context(), cfg, time.Now, log)
	check(err)
	s, err := New(b.Context(), cfg, loaded.List, nil, Env{Clock: clock.System(), Log: log, ClientsCopy: file})
	loaded.List = nil
	check(err)
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { s.Run(ctx) })
	<-s.Ready()
	started := time.Since(start)
	set := func(id wire.Identifier, secret string) {
		c := clients.Client{Identifier: id, Secret: []byte(secret)}
		check(editor.Edit(ctx, []wire.Identifier{id}, func([]clients.Line) ([]clients.Line, error) { return []clients.Line{{Client: &c}}, nil }))
	}
	revoke := func(i int) time.Duration {
		id := benchID(i)
		for _, err := range s.gate.Open([]sessions.Grant{{Identifier: id, Address: netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})}}) {
			check(err)
		}
		if len(s.gate.Leases()) != 1 {
			b.Fatal("no lease")
		}
		start := time.Now()
		_, err := editor.Remove(ctx, id)
		check(err)
		for len(s.gate.Leases()) > 0 {
			time.Sleep(time.Millisecond)
		}
		return time.Since(start)
	}
	inForce := func() {
		for {
			status, err := s.AwaitList(ctx)
			check(err)
			if status.Refused == "" {
				return
			}
		}
	}
	var add, alone, burst []time.Duration
	rounds := 3
	if n >= 1_000_000 {
		rounds = 1 // each takes many seconds
	}
	for b.Loop() {
		for i := range rounds {
			start := time.Now()
			set(wire.Identifier([]byte(fmt.Sprintf("~%03d", i))), "secret")
			inForce()
			add = append(add, time.Since(start))
			alone = append(alone, revoke(i))
			inForce()
			for k := range 10 {
				set(wire.Identifier([]byte(fmt.Sprintf("~%d%02d", i+1, k))), "burst")
			}
			burst = append(burst, revoke(100+i))
			inForce()
		}
	}
	slices.Sort(add)
	slices.Sort(alone)
	slices.Sort(burst)
	b.ReportMetric(imported.Seconds(), "import-s")
	b.ReportMetric(started.Seconds(), "start-s")
	b.ReportMetric(add[len(add)/2].Seconds(), "add-s")
	b.ReportMetric(alone[len(alone)/2].Seconds(), "revoke-s")
	b.ReportMetric(burst[len(burst)/2].Seconds(), "burst-s")
	resident, err := target.Resident(os.Getpid())
	check(err)
	b.ReportMetric(float64(resident)/(1<<20), "rss-MiB")
}

// benchID is the identifier of a client, from 0 to 64^4 - 1.
func benchID(i int) (id wire.Identifier) {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+-"
	for k := range id {
		id[3-k] = digits[i>>(6*k)&63]
	}
	return id
}
