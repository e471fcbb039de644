package helper

import (
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// wall remembers what was done to it.
type wall struct {
	applied [][]Change
	ended   chan []Change // by one look each
	closed  int
	fail    error
}

func (f *wall) Apply(c []Change) error {
	if f.fail == nil {
		f.applied = append(f.applied, slices.Clone(c))
	}
	return f.fail
}

func (f *wall) Disconnect(c []Change) error {
	f.ended <- c
	return nil
}

func (f *wall) CloseAll() error {
	f.closed++
	return nil
}

// ended is how Serve did.
type ended struct {
	ordered bool
	err     error
}

// start runs a helper, as a process of its own would.
func start(t *testing.T, p Policy, f Firewall) (*Client, <-chan ended) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	lifeline, held, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan ended, 1)
	go func() {
		defer held.Close()
		ordered, err := Serve(os.NewFile(uintptr(pair[1]), "server"), p, f, slog.New(slog.DiscardHandler))
		done <- ended{ordered, err}
	}()
	c, err := NewClient(os.NewFile(uintptr(pair[0]), "helper"), lifeline)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Ready(); err != nil {
		t.Fatal(err)
	}
	return c, done
}

var oneService = Policy{Services: []Service{{OpenMax: time.Minute}}}

func TestHelperDoesWhatItMay(t *testing.T) {
	f := wall{ended: make(chan []Change)}
	c, done := start(t, oneService, &f)
	a := netip.MustParseAddr("192.0.2.1")
	d := &Door{Client: c}
	if err := d.Admit(a, time.Now().Add(30*time.Second)); err != nil {
		t.Fatal(err)
	}
	if len(f.applied) != 1 || f.applied[0][0].Kind != Open || f.applied[0][0].Address != a || f.applied[0][0].For > 30*time.Second || f.applied[0][0].For < 20*time.Second {
		t.Errorf("applied %+v", f.applied)
	}
	// More than is configured is refused, and the server lives on.
	if err := d.Admit(a, time.Now().Add(time.Hour)); err == nil || !strings.Contains(err.Error(), "are the most") || errors.Is(err, ErrDead) {
		t.Errorf("an hour: %v", err)
	}
	if err := c.Do(Change{Kind: Close, Number: 0, Address: a}, Change{Kind: Open, Number: 7, For: 1, Address: a}); err == nil || len(f.applied) != 1 {
		t.Errorf("half of a request: %v, %v", f.applied, err)
	}
	f.fail = errors.New("no room")
	if err := d.Admit(netip.MustParseAddr("192.0.2.2"), time.Now().Add(time.Second)); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("a failure: %v", err)
	}
	f.fail = nil
	// What is revoked is closed, and its connections end; what the kernel has
	// ended is not spoken of.
	if err := d.Admit(netip.MustParseAddr("192.0.2.3"), time.Now().Add(2*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * time.Millisecond)
	before := len(f.applied)
	d.Dismiss([]netip.Addr{netip.MustParseAddr("192.0.2.3"), netip.MustParseAddr("192.0.2.4")}, false)
	if len(f.applied) != before {
		t.Errorf("applied %+v", f.applied[before:])
	}
	ends := &Door{Client: c, Ends: true}
	if err := ends.Admit(a, time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	ends.Dismiss([]netip.Addr{a, netip.MustParseAddr("192.0.2.4")}, true)
	if last := f.applied[len(f.applied)-1]; len(last) != 1 || last[0].Kind != Close {
		t.Errorf("applied %+v", last)
	}
	d.Dismiss([]netip.Addr{a}, true)
	cut := []Change{{Kind: Cut, Address: a}}
	if last := f.applied[len(f.applied)-1]; !slices.Equal(last, cut) {
		t.Errorf("applied %+v", last)
	}
	if ended := <-f.ended; !slices.Equal(ended, cut) {
		t.Errorf("ended %+v", ended)
	}
	var ports []uint16
	for p := range uint16(3000) {
		ports = append(ports, 2000+p)
	}
	if err := c.Knock(ports, time.Minute); err != nil {
		t.Fatal(err)
	}
	known := 0
	for _, changes := range f.applied {
		for _, change := range changes {
			if change.Kind == Knock {
				known++
			}
		}
	}
	if known != len(ports) {
		t.Errorf("%d ports announced, want %d", known, len(ports))
	}
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
	if e := <-done; !e.ordered || e.err != nil || f.closed != 1 {
		t.Errorf("ended %+v, closed %d times", e, f.closed)
	}
}

func TestHelperClosesWhenTheServerDies(t *testing.T) {
	var f wall
	c, done := start(t, oneService, &f)
	c.conn.Close() // as the kernel does for a process that was killed
	if e := <-done; e.ordered || e.err != nil || f.closed != 1 {
		t.Errorf("ended %+v, closed %d times", e, f.closed)
	}
	<-c.Dead()
	if err := c.Do(Change{Kind: Exit}); !errors.Is(err, ErrDead) {
		t.Errorf("after its death: %v", err)
	}
}

// TestConnectionsEndInTheirTime has the table of connections be a long one.
func TestConnectionsEndInTheirTime(t *testing.T) {
	f := wall{ended: make(chan []Change)}
	c, done := start(t, oneService, &f)
	var asked []Change
	cut := func() {
		change := Change{Kind: Cut, Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(len(asked))})}
		asked = append(asked, change)
		if err := c.Do(change); err != nil {
			t.Fatal(err)
		}
	}
	// The first waits at f.ended; those behind it are one look.
	for range 10 {
		cut()
	}
	if err := c.Do(Change{Kind: Open, Address: netip.MustParseAddr("192.0.2.1"), For: time.Second}); err != nil {
		t.Errorf("a grant meanwhile: %v", err)
	}
	// Nothing that was asked for is forgotten when the server stops.
	go c.Stop()
	<-c.Dead()
	looks := 0
	for left := asked; len(left) > 0; looks++ {
		ended := <-f.ended
		if len(ended) == 0 || !slices.Equal(ended, left[:len(ended)]) {
			t.Fatalf("ended %+v, where %+v are left", ended, left)
		}
		left = left[len(ended):]
	}
	if looks > 2 {
		t.Errorf("%d looks", looks)
	}
	<-done
}

func TestWhatCannotBeClosedEndsTheHelper(t *testing.T) {
	var f wall
	c, done := start(t, oneService, &f)
	d := &Door{Client: c}
	a := netip.MustParseAddr("192.0.2.1")
	if err := d.Admit(a, time.Now().Add(30*time.Second)); err != nil {
		t.Fatal(err)
	}
	f.fail = errors.New("no room")
	d.Dismiss([]netip.Addr{a}, false)
	if err := c.Err(); !errors.Is(err, ErrDead) || !strings.Contains(err.Error(), "no room") {
		t.Errorf("got %v", err)
	}
	if e := <-done; e.ordered || f.closed != 1 {
		t.Errorf("ended %+v, closed %d times", e, f.closed)
	}
}

func TestHelperRefusesNonsense(t *testing.T) {
	var f wall
	c, done := start(t, oneService, &f)
	if _, err := c.conn.Write([]byte("GET / HTTP/1.0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := c.answer(); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("nonsense: %v", err)
	}
	// A message that is too long is refused, not cut short.
	if _, err := c.conn.Write(make([]byte, 2*maxRequest)); err != nil {
		t.Fatal(err)
	}
	if err := c.answer(); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("a long message: %v", err)
	}
	if len(f.applied) != 0 {
		t.Errorf("applied %+v", f.applied)
	}
	c.Stop()
	<-done
}
