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

// TestReachTriesAgain: a SYN that overtakes the grant meets silence, and the
// kernel's own second one would come too late.
func TestReachTriesAgain(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	// On a busy machine the door may open when reach has given up.
	netns.Until(t, "a door that opened is found", func() bool {
		c, err := reachWhatOpens(t)
		if err == nil {
			c.Close()
		} else if !timedOut(err) {
			t.Fatal(err)
		}
		return err == nil
	})
}

// reachWhatOpens has reach begin before a door opens.
func reachWhatOpens(t *testing.T) (*net.TCPConn, error) {
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
	c, err := reach(t.Context(), l.Addr().(*net.TCPAddr).AddrPort())
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
	return c, err
}

// endable is a context whose time is over when the test says so.
type endable struct {
	context.Context
	over chan struct{}
}

func (c endable) Done() <-chan struct{} { return c.over }

func (c endable) Err() error {
	select {
	case <-c.over:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// TestWatchTellsWhatItSaw: the service refuses, and is silent when the time is
// over. That must not hide that it refused.
func TestWatchTellsWhatItSaw(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	service := netip.MustParseAddrPort("127.0.0.1:8080")
	ctx := endable{t.Context(), make(chan struct{})}
	done := make(chan error, 1)
	go func() {
		_, err := watch(ctx, service, time.Hour)
		done <- err
	}()
	netns.Until(t, "a refusal", func() bool { return tcpCount(t, "AttemptFails") > 0 })
	lc := net.ListenConfig{Control: sockfilter.DenyAll}
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(t.Context(), "tcp4", service.String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	// The second to come is certain to find the listener.
	before := tcpCount(t, "ActiveOpens")
	netns.Until(t, "a try that meets silence", func() bool { return tcpCount(t, "ActiveOpens") >= before+2 })
	close(ctx.over)
	if err := <-done; !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v", err)
	}
}

// tcpCount reads a counter of this namespace's TCP.
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
