package daemon

import (
	"bufio"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"

	"sallyport/bench/netns"
	"sallyport/bench/target"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/config/configtest"
	"sallyport/sessions"
	"sallyport/sessions/client"
	"sallyport/sessions/clock"
	"sallyport/sessions/state"
	"sallyport/verify/wire"
)

// BenchmarkStart measures what a registered client costs: time at the start,
// and memory from then on, from the clients file to a server that is ready.
func BenchmarkStart(b *testing.B) {
	for _, n := range []int{100, 1_000_000} {
		b.Run(fmt.Sprintf("clients=%d", n), func(b *testing.B) {
			path := writeClients(b, n)
			debug.FreeOSMemory()
			before := heap()
			var s *Server
			for b.Loop() {
				if s != nil {
					b.StopTimer()
					s.state.Close()
					s = nil
					debug.FreeOSMemory()
					b.StartTimer()
				}
				cfg, err := config.Load(path, config.Secrets)
				if err != nil {
					b.Fatal(err)
				}
				list, err := clients.Load(cfg.ClientsPath, cfg.SecretFiles, nil)
				if err != nil {
					b.Fatal(err)
				}
				s, err = New(b.Context(), cfg, list, nil, Env{Clock: clock.System(), Log: slog.New(slog.DiscardHandler)})
				if err != nil {
					b.Fatal(err)
				}
			}
			debug.FreeOSMemory()
			b.ReportMetric((heap()-before)/float64(n), "heap-B/client")
			resident, err := target.Resident(os.Getpid())
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(resident)/(1<<20), "rss-MiB")
			runtime.KeepAlive(s)
			s.state.Close()
		})
	}
}

// TestTenThousandKnock: all of them get in, with nothing sent twice. The next
// portion is sent when the server has read the one before, so that a busy machine
// makes this slower, and no queue full.
func TestTenThousandKnock(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes its time")
	}
	if !netns.Enter(t) {
		return
	}
	const number, portion = 10_000, 150
	w := newWorld(t, func(s *setup) {
		s.list, s.web = nil, "open_for = \"1m\""
		for i := range number {
			s.list = append(s.list, clients.Client{Identifier: wire.Identifier([]byte(clientNumber(i))), Secret: []byte("secret of " + clientNumber(i))})
		}
	})
	var sent uint64
	for i := 0; i < number; i += portion / 3 {
		var packets []client.Packet
		for j := i; j < min(i+portion/3, number); j++ {
			sequence, err := client.Sequence(w.profile(clientNumber(j), server4), w.clock.Now(), 0)
			if err != nil {
				t.Fatal(err)
			}
			packets = append(packets, sequence...)
		}
		w.send(t, "198.51.100.2", server4, packets)
		sent += uint64(len(packets))
		w.until(t, "a portion to be read", func() bool { return w.server.ingest.Stats().Received == sent })
	}
	w.until(t, "all to be let in", func() bool { return w.opened() == number })
	stats := w.server.Sessions()
	if stats[sessions.QueueFull]+stats[sessions.Unrecorded]+stats[sessions.Failed] != 0 {
		t.Errorf("outcomes %v", stats)
	}
}

func heap() float64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// writeClients makes a configuration with so many clients.
func writeClients(t testing.TB, n int) (path string) {
	t.Helper()
	dir := t.TempDir()
	f, err := os.OpenFile(filepath.Join(dir, config.ClientsName), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	for i := range n {
		fmt.Fprintf(w, "%s %064x 0\n", clientNumber(i), i)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	path = filepath.Join(dir, config.FileName)
	if err := os.WriteFile(path, []byte(configtest.Text(configtest.Web)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := state.Create(filepath.Join(dir, "state")); err != nil {
		t.Fatal(err)
	}
	return path
}

// clientNumber names a client by four letters and digits.
func clientNumber(i int) string {
	const digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	b := [4]byte{}
	for at := range b {
		b[at] = digits[i%len(digits)]
		i /= len(digits)
	}
	return string(b[:])
}
