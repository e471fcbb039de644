package helper

import (
	"errors"
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
	ended   []netip.Addr
	closed  int
	fail    error
}

func (f *wall) Apply(c []Change) error {
	if f.fail == nil {
		f.applied = append(f.applied, slices.Clone(c))
	}
	return f.fail
}

func (f *wall) Disconnect(_ uint16, a netip.Addr) error {
	f.ended = append(f.ended, a)
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
		ordered, err := Serve(os.NewFile(uintptr(pair[1]), "server"), p, f)
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
	var f wall
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
	if last := f.applied[len(f.applied)-1]; len(last) != 1 || last[0].Kind != Close || len(f.ended) != 0 {
		t.Errorf("applied %+v, ended %v", last, f.ended)
	}
	d.Dismiss([]netip.Addr{a}, true)
	if last := f.applied[len(f.applied)-1]; len(last) != 1 || last[0].Kind != Cut || last[0].Address != a || !slices.Equal(f.ended, []netip.Addr{a}) {
		t.Errorf("applied %+v, ended %v", last, f.ended)
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
