package main

import (
	"bufio"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"sallyport/sessions/state"
)

// BenchmarkStart measures what a registered client costs: time at the start,
// and memory from then on, from the clients file to a server that is ready.
func BenchmarkStart(b *testing.B) {
	for _, n := range []int{100, 1_000_000} {
		b.Run(fmt.Sprintf("clients=%d", n), func(b *testing.B) {
			path := writeClients(b, n)
			debug.FreeOSMemory()
			before := heap()
			var s *server
			for b.Loop() {
				if s != nil {
					b.StopTimer()
					s.state.Close()
					s = nil
					debug.FreeOSMemory()
					b.StartTimer()
				}
				cfg, err := loadConfig(path)
				if err != nil {
					b.Fatal(err)
				}
				if s, err = newServer(b.Context(), cfg, nil, time.Now, slog.New(slog.DiscardHandler)); err != nil {
					b.Fatal(err)
				}
			}
			debug.FreeOSMemory()
			b.ReportMetric((heap()-before)/float64(n), "heap-B/client")
			b.ReportMetric(float64(resident(b, os.Getpid()))/(1<<20), "rss-MiB")
			runtime.KeepAlive(s)
			s.state.Close()
		})
	}
}

func heap() float64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// resident is a process's resident memory in bytes.
func resident(t testing.TB, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	var size, pages int
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// writeClients makes a configuration with so many clients.
func writeClients(t testing.TB, n int) (path string) {
	t.Helper()
	dir := t.TempDir()
	f, err := os.OpenFile(filepath.Join(dir, clientsName), os.O_CREATE|os.O_WRONLY, 0o600)
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
	text := "ports = 3\nport_secret = \"the port secret\"\nclients = \"" + clientsName + "\"\n[[service]]\nname = \"web\"\ntype = \"web\"\nlisten = \"127.0.0.1:8080\"\n"
	path = filepath.Join(dir, configName)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
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
