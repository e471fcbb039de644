package daemon

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"weak"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/config/configtest"
	"sallyport/sessions/state"
)

// everything is a configuration with all that keeps parts of one: every kind of
// service, stealth, and operations of a client.
const everything = `
listen = ["127.0.0.1"]
stealth = true
[[service]]
name = "web"
type = "web"
listen = "127.0.0.1:8080"
[[service]]
name = "site"
type = "proxy"
listen = "127.0.0.1:8081"
upstream = "127.0.0.1:7"
[[service]]
name = "dns"
type = "proxy"
protocol = "udp"
listen = "127.0.0.1:53"
upstream = "127.0.0.1:7"
[[service]]
name = "ssh"
type = "firewall"
listen = ":22"
[challenge]
[[operation]]
id = "ssh-alice-"
secret = "the operation's secret"
service = "ssh"
client = "com1"
port = "random"
`

// TestNoClientSecretIsKept: after the start and after each reload, nothing holds
// a client's secret as the file has it, revoked ones included.
func TestNoClientSecretIsKept(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	dir := t.TempDir()
	cfg := configtest.Parse(t, dir, everything)
	if err := state.Create(cfg.StateDir); err != nil {
		t.Fatal(err)
	}
	helper, ended := inProcessHelper(t, cfg)
	kept := func(when string, held []weak.Pointer[byte]) {
		t.Helper()
		runtime.GC()
		for i, p := range held {
			if p.Value() != nil {
				t.Errorf("%s: secret %d of %d is held", when, i, len(held))
			}
		}
		// Nor does a copy, such as the line that a service's name was cut from.
		heap := heapDump(t)
		for i := range len(held) + 1 {
			if bytes.Contains(heap, []byte(secretText(i))) == (i > 0) {
				t.Errorf("%s: the text of secret %d of %d is in the heap: %t", when, i, len(held), i > 0)
			}
		}
	}
	canary := []byte(secretText(0)) // what is held, a dump has
	list, held := registered(t, 1)
	s, err := New(t.Context(), cfg, list, helper, Env{Clock: system, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	list = nil
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	<-s.Ready()
	kept("after the start", held)
	for round := range 3 {
		s.reloads.mu.Lock()
		_, err := s.change(ctx, cause{}, "clients", func(current *config.Config) (*config.Config, clients.Loaded, error) {
			list, held = registered(t, round) // com1 alone, then with com2, then with com3
			return current, clients.Loaded{List: list, Whole: true}, nil
		})
		s.reloads.mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		list = nil
		kept(fmt.Sprintf("after reload %d", round), held)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	runtime.KeepAlive(s)
	runtime.KeepAlive(canary)
}

// heapDump is all that the heap holds.
func heapDump(t *testing.T) []byte {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "heap"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	debug.WriteHeapDump(f.Fd())
	heap, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return heap
}

// secretText is the text of a secret, made without package fmt, which keeps its
// buffers.
func secretText(i int) string {
	digits := strconv.FormatInt(int64(i), 16)
	return strings.Repeat("0", 64-len(digits)) + digits
}

// registered makes clients as their file has them, each in the midst of a
// rotation.
func registered(t *testing.T, n int) (clients.List, []weak.Pointer[byte]) {
	t.Helper()
	var text strings.Builder
	for i := range n + 1 {
		for _, part := range []string{
			"com", strconv.Itoa(i + 1), " ", secretText(2*i + 1), " 0 old=", secretText(2*i + 2),
			" until=2099-01-01T00:00:00Z services=web,ssh\n",
		} {
			text.WriteString(part)
		}
	}
	lines, err := clients.Parse("clients.txt", strings.NewReader(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	list := clients.Of(lines)
	var held []weak.Pointer[byte]
	for _, c := range list {
		held = append(held, weak.Make(&c.Secret[0]), weak.Make(&c.Previous[0]))
	}
	return list, held
}
