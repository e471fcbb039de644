package daemon

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/google/nftables"

	"sallyport/bench/netns"
	"sallyport/bench/race"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/config/configtest"
	"sallyport/sessions"
	"sallyport/sessions/clock"
	"sallyport/sessions/gate/firewall"
	"sallyport/sessions/gate/holder"
	"sallyport/sessions/gate/holder/holdertest"
	"sallyport/verify/wire"
)

// TestHundredThousandLeases opens and closes them at services of every type,
// behind the firewall: no socket, goroutine or element of a set is left.
func TestHundredThousandLeases(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes its time")
	}
	if !netns.Enter(t) {
		return
	}
	grants := uint32(25_000) // each at four services
	if race.Enabled {
		grants /= 10 // it makes the filters fifteen times slower; .ci/run runs all without it
	}
	cfg, err := config.Parse("c.toml", []byte(configtest.Text(`
[[service]]
name = "web"
type = "web"
listen = "127.0.0.1:8080"
open_for = "1s"
open_max = "1s"
on_close = "keep"
[[service]]
name = "tcp"
type = "proxy"
listen = "127.0.0.1:8081"
upstream = "127.0.0.1:7"
look = "filtered"
open_for = "1s"
open_max = "1s"
[[service]]
name = "udp"
type = "proxy"
protocol = "udp"
listen = "127.0.0.1:8082"
upstream = "127.0.0.1:7"
open_for = "1s"
open_max = "1s"
[[service]]
name = "ssh"
type = "firewall"
listen = ":22"
grant_prefix6 = 64
open_for = "1s"
open_max = "1s"
`)))
	if err != nil {
		t.Fatal(err)
	}
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	client, ended := inProcessHelper(t, cfg)
	log := slog.New(slog.DiscardHandler)
	server := &Server{env: Env{Clock: system, Log: log}, holder: client}
	if err := server.makeGate(cfg, plan{}); err != nil {
		t.Fatal(err)
	}
	server.gate.BindPorts()
	g := server.gate
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- g.Run(ctx) }()
	highest := 0
	for i := range grants {
		var id wire.Identifier
		binary.BigEndian.PutUint32(id[:], 0x41414141+i/4) // four addresses a client
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		if i%2 == 1 {
			var b [16]byte
			b[0], b[1] = 0x20, 0x01
			binary.BigEndian.PutUint32(b[4:], i)
			a = netip.AddrFrom16(b)
		}
		if err := errors.Join(g.Open([]sessions.Grant{{Identifier: id, Address: a}})...); err != nil {
			t.Fatalf("grant %d: %v", i, err)
		}
		if i%(grants/10) == 0 {
			n, err := elements()
			if err != nil {
				t.Fatal(err)
			}
			highest = max(highest, n)
		}
	}
	t.Logf("%d elements were there at a time", highest)
	netns.Until(t, "no element left", func() bool {
		n, err := elements()
		return err == nil && n == 0
	})
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := client.Stop(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	netns.Until(t, "no goroutine and no socket left", func() bool { return runtime.NumGoroutine() <= goroutines && openFiles(t) <= files })
}

// system is the clock of a server and its holder: two clocks of a host begin at different
// times, and a lease that lasts as long as is possible would last too long.
var system = clock.System()

// inProcessHelper is the second process, in this one.
func inProcessHelper(t *testing.T, cfg *config.Config) (*holder.Conn, <-chan error) {
	t.Helper()
	table, err := firewall.Claim(cfg.Firewall(), firewall.Owner{}, false, system)
	if err != nil {
		t.Fatal(err)
	}
	return holdertest.Start(t, holder.Config{Policy: cfg.Policy(), Digest: cfg.Digest(), Claim: holder.Claimed(table), Clock: system, Schedule: func() (holder.Schedule, error) { return cfg.Schedule(), nil }})
}

// elements is how many grants the firewall has.
func elements() (n int, err error) {
	conn, err := nftables.New()
	if err != nil {
		return 0, err
	}
	table := &nftables.Table{Name: firewall.Name, Family: nftables.TableFamilyINet}
	sets, err := conn.GetSets(table)
	if err != nil {
		return 0, err
	}
	for _, set := range sets {
		if !strings.Contains(set.Name, "_granted") && !strings.HasSuffix(set.Name, "_anyone") {
			continue
		}
		all, err := conn.GetSetElements(set)
		if err != nil {
			return 0, err
		}
		n += len(all)
	}
	return n, nil
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
