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

// TestConnectRetries: the server drops a SYN that arrives before the grant, and the
// kernel sends it again only after a second.
func TestConnectRetries(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	// On a busy machine, the port may open only after connect has returned.
	netns.Until(t, "a connection to the port that opens", func() bool {
		c, err := connectBeforeOpening(t)
		if err == nil {
			c.Close()
		} else if !timedOut(err) {
			t.Fatal(err)
		}
		return err == nil
	})
}

// connectBeforeOpening calls connect before the port opens.
func connectBeforeOpening(t *testing.T) (*net.TCPConn, error) {
	lc := net.ListenConfig{Control: sockfilter.DenyAll}
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	opened := make(chan error, 1)
	time.AfterFunc(50*time.Millisecond, func() {
		_, err := sockfilter.Attach(raw, sockfilter.Set{Anyone: true})
		opened <- err
	})
	c, err := connect(t.Context(), l.Addr().(*net.TCPAddr).AddrPort(), false, 0)
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
	return c, err
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
		done <- watcher{service: service, timeout: time.Hour}.wait(ctx).err
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
	text, err := os.ReadFile("/proc/self/net/snmp")
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?m)^Tcp: .*$`).FindAllString(string(text), -1)
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
