package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/metrics"
	"sallyport/sessions"
	"sallyport/sessions/clock"
	"sallyport/verify/wire"
)

// BenchmarkAnswers measures how long the answers of the admin socket take to make, with
// many clients and leases, and how long a grant waits meanwhile at most.
func BenchmarkAnswers(b *testing.B) {
	const registered = 100_000
	for _, leases := range []int{100, 10_000, 100_000} {
		s := crowded(b, registered, leases)
		text := metrics.New(s.status).Text
		for name, answer := range map[string]func(io.Writer) error{
			"status":  func(w io.Writer) error { return json.NewEncoder(w).Encode(s.status()) },
			"metrics": text,
			"leases":  func(w io.Writer) error { return json.NewEncoder(w).Encode(s.leases()) },
		} {
			b.Run(fmt.Sprintf("%s/leases=%d", name, leases), func(b *testing.B) {
				ctx, stop := context.WithCancel(b.Context())
				longest := make(chan time.Duration)
				go func() { longest <- longestGrant(ctx, s) }()
				b.ReportAllocs()
				for b.Loop() {
					if err := answer(io.Discard); err != nil {
						b.Fatal(err)
					}
				}
				stop()
				b.ReportMetric(float64((<-longest).Microseconds()), "longest-grant-µs")
			})
		}
	}
}

// longestGrant extends a lease a thousand times a second until ctx ends, and returns the
// longest time that it took.
func longestGrant(ctx context.Context, s *Server) (longest time.Duration) {
	grant := sessions.Grant{Identifier: wire.Identifier([]byte(clientNumber(0))), Address: netip.MustParseAddr("198.18.0.0")}
	for ctx.Err() == nil {
		begin := time.Now()
		s.gate.Open([]sessions.Grant{grant})
		longest = max(longest, time.Since(begin))
		time.Sleep(time.Millisecond)
	}
	return longest
}

// crowded starts a server with many clients and leases.
func crowded(b *testing.B, registered, leases int) *Server {
	b.Helper()
	path := writeClients(b, registered)
	cfg, err := config.Load(path, config.Secrets)
	if err != nil {
		b.Fatal(err)
	}
	list, err := clients.Load(cfg.ClientsPath, cfg.SecretFiles, nil)
	if err != nil {
		b.Fatal(err)
	}
	s, err := New(b.Context(), cfg, list, nil, Env{Clock: clock.System(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	wg.Go(func() { s.Run(ctx) })
	b.Cleanup(func() {
		cancel()
		wg.Wait()
		s.state.Close()
	})
	<-s.Ready()
	for i := range leases {
		at := netip.AddrFrom4([4]byte{198, byte(18 + i>>16), byte(i >> 8), byte(i)})
		for _, err := range s.gate.Open([]sessions.Grant{{Identifier: wire.Identifier([]byte(clientNumber(i))), Address: at}}) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	return s
}
