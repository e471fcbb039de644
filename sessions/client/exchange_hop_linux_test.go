package client

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/schedule"
)

// hoppingServer is a server whose ports hop, with a clock, and the configuration of its
// client.
func hoppingServer(t *testing.T, wall func() time.Time, mangle func(int, []byte) [][]byte) (*testServer, ExchangeConfig) {
	t.Helper()
	const bases = 150
	plan := challenge.Plan{
		Request: narrow, Response: above, Ports: challenge.Ports{First: 20000, Last: 22000}, Hop: bases,
	}
	o := newOperation(t, exchange.NATAware, false)
	plan.NoIPv6 = true
	ops, err := exchange.NewOperations([]*exchange.Operation{o}, plan)
	if err != nil {
		t.Fatal(err)
	}
	key := schedule.HopKeyOf("port secret")
	ops.SetHopping(exchange.Hopping{
		Keys: func(schedule.Minute) []schedule.HopKey { return []schedule.HopKey{key} }, Tolerance: 20 * time.Second,
	})
	cfg := exchangeConfig(o, "127.0.0.1")
	cfg.Challenge.Hop, cfg.Challenge.HopKey, cfg.Attempts = bases, key, 1
	return serveOperations(t, ops, plan.Ports, wall, mangle), cfg
}

// TestExchangeThatHops: client and server draw the same ports, also if their clocks
// differ by less than the tolerance; the server takes the response of a minute that has
// ended. The same packets of a request get no answer when the minute and the tolerance
// are over.
func TestExchangeThatHops(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	minute := schedule.Minute(29_000_000).Start()
	for name, row := range map[string]struct{ server, client time.Duration }{
		"the same minute":                        {30 * time.Second, 30 * time.Second},
		"the client is behind, at the tolerance": {79 * time.Second, 59 * time.Second},
		"the client is ahead, at the tolerance":  {-20 * time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var passed atomic.Int64
			passed.Store(int64(row.server))
			g, cfg := hoppingServer(t, func() time.Time { return minute.Add(time.Duration(passed.Load())) }, func(n int, challenge []byte) [][]byte {
				if n == 1 {
					passed.Store(int64(10 * time.Minute)) // the response is late
				}
				return [][]byte{challenge}
			})
			cfg.Timeout = 10 * time.Second
			cfg.Now = func() time.Time { return minute.Add(row.client) }
			if _, err := Exchange(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
			if got := g.grants(); len(got) != 1 {
				t.Fatalf("granted %v", got)
			}
			replay := func() int64 {
				before := g.challenges.Load()
				g.mu.Lock()
				request := g.requests
				g.mu.Unlock()
				conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				for _, p := range request {
					if _, err := conn.WriteToUDPAddrPort(nil, p.Destination); err != nil {
						t.Fatal(err)
					}
				}
				received := g.capture.Stats().Received
				netns.Until(t, "all packets read", func() bool {
					if now := g.capture.Stats().Received; now != received {
						received = now
						return false
					}
					return true
				})
				return g.challenges.Load() - before
			}
			// The control: in its minute, the request gets an answer.
			passed.Store(int64(30 * time.Second))
			netns.Until(t, "an answer to the same request in its minute", func() bool { return replay() > 0 })
			passed.Store(int64(80 * time.Second))
			if n := replay(); n != 0 {
				t.Errorf("%d answers to a request whose minute and tolerance are over", n)
			}
		})
	}
}

// TestExchangeThatHopsByAWrongClock: a client whose clock is wrong by more than the
// tolerance gets no challenge, and the error names the clock.
func TestExchangeThatHopsByAWrongClock(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	minute := schedule.Minute(29_000_000).Start()
	g, cfg := hoppingServer(t, func() time.Time { return minute.Add(30 * time.Second) }, nil)
	cfg.Timeout = 300 * time.Millisecond
	cfg.Now = func() time.Time { return minute.Add(5 * time.Minute) }
	_, err := Exchange(t.Context(), cfg)
	var offline *OfflineError
	if !errors.As(err, &offline) || offline.Reason != ReasonNoChallenge {
		t.Fatalf("got %v", err)
	}
	if ClockState() != ClockSynchronised && !strings.Contains(offline.Hint(), "clock") {
		t.Errorf("hint %s", offline.Hint())
	}
	if n := g.challenges.Load(); n != 0 {
		t.Errorf("%d challenges", n)
	}
}
