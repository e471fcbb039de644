package client

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/sockfilter"
)

// watchAt returns the watch at one service.
func watchAt(service netip.AddrPort, whole bool) *connector {
	c := newConnector(context.Background(), whole, false)
	c.lanes = []*lane{newLane(service, time.Now(), time.Hour, func() before { return beforeUnknown })}
	return c
}

// manualDeadline is a context whose deadline passes when the test closes expired.
type manualDeadline struct {
	context.Context
	expired chan struct{}
}

func (c manualDeadline) Done() <-chan struct{} { return c.expired }

func (c manualDeadline) Err() error {
	select {
	case <-c.expired:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// TestWatcherKeepsRefusal: the service refuses connections, and then drops
// packets until the deadline. The error must be the refusal, not the timeout.
func TestWatcherKeepsRefusal(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	service := netip.MustParseAddrPort("127.0.0.1:8080")
	ctx := manualDeadline{t.Context(), make(chan struct{})}
	done := make(chan error, 1)
	go func() {
		done <- watchAt(service, false).wait(ctx).err
	}()
	netns.Until(t, "a refusal", func() bool { return tcpCount(t, "AttemptFails") > 0 })
	lc := net.ListenConfig{Control: sockfilter.DenyAll}
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(t.Context(), "tcp4", service.String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	// The second attempt from now on begins after the listener exists.
	before := tcpCount(t, "ActiveOpens")
	netns.Until(t, "an attempt without an answer", func() bool { return tcpCount(t, "ActiveOpens") >= before+2 })
	close(ctx.expired)
	if err := <-done; !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v", err)
	}
}

// tcpCount reads a TCP counter of this namespace.
func tcpCount(t *testing.T, name string) int {
	t.Helper()
	text, err := os.ReadFile("/proc/thread-self/net/snmp") // the first thread may be in another one
	if err != nil {
		t.Fatal(err)
	}
	return counterIn(t, string(text), name)
}

// tcpCountIn reads a TCP counter of another host.
func tcpCountIn(t *testing.T, h *netns.Host, name string) int {
	t.Helper()
	var text []byte
	err := h.Do(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/snmp")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return counterIn(t, string(text), name)
}

func counterIn(t *testing.T, text, name string) int {
	t.Helper()
	lines := regexp.MustCompile(`(?m)^Tcp: .*$`).FindAllString(text, -1)
	if len(lines) != 2 {
		t.Fatalf("%d lines of TCP", len(lines))
	}
	words := regexp.MustCompile(`\S+`)
	values := words.FindAllString(lines[1], -1)
	for i, n := range words.FindAllString(lines[0], -1) {
		if n == name {
			value, err := strconv.Atoi(values[i])
			if err != nil {
				t.Fatal(err)
			}
			return value
		}
	}
	t.Fatalf("no counter %s", name)
	return 0
}
