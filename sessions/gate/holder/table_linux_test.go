package holder_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/sessions/clock"
	"sallyport/sessions/clock/clocktest"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
	"sallyport/sessions/gate/holder"
	"sallyport/sessions/gate/holder/holdertest"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// running is the system's clock.
var running = clock.Clock{Wall: time.Now, Monotonic: time.Now, Boot: time.Now}

var (
	epoch    = time.Unix(1_800_000_000, 0)
	web, ssh = access.ID("web"), access.ID("ssh")
)

func peer(a string) access.Peer { return access.PeerOf(netip.MustParseAddr(a), access.PrefixHost) }

// fakeFirewall records the calls of its methods.
type fakeFirewall struct {
	applied [][]access.Change
	ports   []uint16
	trusted map[access.ServiceID]firewall.Trusted
	trusts  error                // of SetTrusted
	ended   chan []access.Change // one for each call of Disconnect
	closed  int
	// refusesToClose is the number of calls of Close that still fail.
	refusesToClose int
	fail           error
	fails          func(access.Change) bool // nil: for all
}

func (f *fakeFirewall) Apply(changes []access.Change) (errs []error) {
	f.applied = append(f.applied, slices.Clone(changes))
	for i, c := range changes {
		if f.fail != nil && (f.fails == nil || f.fails(c)) {
			if errs == nil {
				errs = make([]error, len(changes))
			}
			errs[i] = f.fail
		}
	}
	return errs
}

func (f *fakeFirewall) OpenKnockPorts(ports []uint16, _ time.Duration) error {
	f.ports = append(f.ports, ports...)
	return f.fail
}

func (f *fakeFirewall) SetSilence(*firewall.Silence) error { return nil }

func (f *fakeFirewall) SetTrusted(trusted map[access.ServiceID]firewall.Trusted) error {
	if f.trusts == nil {
		f.trusted = trusted
	}
	return f.trusts
}

func (f *fakeFirewall) Disconnect(c []access.Change) error {
	f.ended <- c
	return nil
}

func (f *fakeFirewall) Close() error {
	f.closed++
	if f.refusesToClose > 0 {
		f.refusesToClose--
		return errors.New("no table")
	}
	return nil
}

func (f *fakeFirewall) last() []access.Change { return f.applied[len(f.applied)-1] }

// serve runs a holder that has read a configuration with the digest 1.
func serve(t *testing.T, f holder.Firewall, now clock.Clock) (*holder.Conn, <-chan holdertest.Ended) {
	t.Helper()
	return holdertest.Serve(t, holder.Config{Policy: oneService, Digest: holder.Digest{1}, Claim: holder.Claimed(f), Schedule: highPorts, Clock: now})
}

func ready(t *testing.T, f holder.Firewall) (*holder.Conn, <-chan holdertest.Ended) {
	t.Helper()
	return readyAt(t, f, running)
}

func readyAt(t *testing.T, f holder.Firewall, now clock.Clock) (*holder.Conn, <-chan holdertest.Ended) {
	t.Helper()
	c, done := serve(t, f, now)
	if err := c.Begin(t.Context(), holder.Digest{1}); err != nil {
		t.Fatal(err)
	}
	return c, done
}

// highPorts draws all ports from 2000 for every minute.
func highPorts() (holder.Schedule, error) {
	return holder.Schedule{Tolerance: time.Minute, Ports: func(schedule.Minute) ([][]uint16, error) {
		list := make([]uint16, 0, 1<<16)
		for p := 2000; p < 1<<16; p++ {
			list = append(list, uint16(p))
		}
		return [][]uint16{list}, nil
	}}, nil
}

var oneService = holder.Policy{Services: []holder.Service{{ID: ssh, Name: "ssh", OpenMax: time.Hour, PrefixLen6: 128}}}

func opens(p access.Peer, d time.Duration) access.Change {
	return access.Change{Service: ssh, Peer: p, Until: running.Boot().Add(d)}
}

func revokes(p access.Peer, cut bool) access.Change {
	return access.Change{Service: ssh, Peer: p, Cut: cut}
}

// one is Apply for one change.
func one(e access.Enforcer, c access.Change) error {
	return errors.Join(e.Apply([]access.Change{c})...)
}

func TestHolderFollowsPolicy(t *testing.T) {
	f := fakeFirewall{ended: make(chan []access.Change)}
	c, done := ready(t, &f)
	a := peer("192.0.2.1")
	e := holder.NewEnforcer(c, ssh)
	opened := opens(a, 30*time.Minute)
	if err := one(e, opened); err != nil {
		t.Fatal(err)
	}
	// Messages have the remaining time: it counts from the arrival.
	got := f.last()[0]
	if len(f.applied) != 1 || got.Service != ssh || got.Peer != a {
		t.Errorf("applied %+v", f.applied)
	}
	if got.Until.Sub(running.Boot()) > 30*time.Minute || got.Until.Before(opened.Until.Add(-time.Second)) {
		t.Errorf("applied %+v", f.applied)
	}
	// The holder refuses more than the configuration allows, and the session
	// continues. It carries out the other changes of the request.
	errs := e.Apply([]access.Change{opens(a, 2*time.Hour), opens(peer("192.0.2.7"), time.Hour), {Service: web, Peer: a, Until: running.Boot().Add(time.Hour)}})
	if len(errs) != 3 || errs[0] == nil || !strings.Contains(errs[0].Error(), "at most") || errs[1] != nil || errs[2] == nil || errors.Is(errs[0], holder.ErrDead) {
		t.Errorf("two hours: %v", errs)
	}
	if got := f.last(); len(got) != 1 || got[0].Peer != peer("192.0.2.7") {
		t.Errorf("in a request with refused changes: %+v", got)
	}
	// A failed change has a separate error.
	f.fail, f.fails = errors.New("no room"), func(c access.Change) bool { return c.Peer == peer("192.0.2.2") }
	errs = e.Apply([]access.Change{opens(peer("192.0.2.1"), time.Hour), opens(peer("192.0.2.2"), time.Hour), opens(peer("192.0.2.3"), time.Hour)})
	if len(errs) != 3 || errs[0] != nil || errs[1] == nil || errs[2] != nil || !strings.Contains(errs[1].Error(), "no room") {
		t.Errorf("a failure: %v", errs)
	}
	f.fail = nil
	var ports []uint16
	for p := range uint16(3000) {
		ports = append(ports, 2000+p)
	}
	if err := c.OpenKnockPorts(ports, time.Minute); err != nil || !slices.Equal(f.ports, ports) {
		t.Errorf("%d ports announced, want %d: %v", len(f.ports), len(ports), err)
	}
	if err := c.OpenKnockPorts([]uint16{80}, time.Minute); err == nil {
		t.Error("a port that is not a knock port")
	}
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
	if e := <-done; !e.Orderly || e.Err != nil || f.closed != 1 {
		t.Errorf("ended %+v, closed %d times", e, f.closed)
	}
}

// TestDrawnPortsAreApart: two minutes of one address are two grants of the firewall,
// and the holder refuses a port of no range, or none.
func TestDrawnPortsAreApart(t *testing.T) {
	f := fakeFirewall{ended: make(chan []access.Change, 1)}
	moves := access.ID("moves")
	policy := holder.Policy{Services: []holder.Service{
		{ID: moves, Name: "moves", OpenMax: time.Hour, PrefixLen6: 128, Drawn: []access.Ports{{First: 10000, Last: 10009}}},
		{ID: ssh, Name: "ssh", OpenMax: time.Hour, PrefixLen6: 128},
	}}
	c, done := holdertest.Start(t, holder.Config{Policy: policy, Claim: holder.Claimed(&f), Schedule: highPorts, Clock: running})
	e := holder.NewEnforcer(c, moves)
	e.Carry(moves)
	of := func(id access.ServiceID, port uint16, d time.Duration) access.Change {
		change := access.Change{Service: id, Peer: peer("192.0.2.1"), Cut: d == 0}
		if change.Peer.Port = port; d > 0 {
			change.Until = running.Boot().Add(d)
		}
		return change
	}
	errs := e.Apply([]access.Change{of(moves, 10000, time.Minute), of(moves, 10009, time.Minute)})
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if got := f.last(); len(got) != 2 || got[0].Peer.Port != 10000 || got[1].Peer.Port != 10009 {
		t.Errorf("applied %+v", got)
	}
	for _, refused := range []access.Change{of(moves, 0, time.Minute), of(moves, 10010, time.Minute), of(ssh, 10000, time.Minute)} {
		if err := one(e, refused); err == nil || !strings.Contains(err.Error(), "port") {
			t.Errorf("%+v: %v", refused, err)
		}
	}
	if err := one(e, of(moves, 10000, 0)); err != nil {
		t.Fatal(err)
	}
	if got := f.last(); len(got) != 1 || got[0].Peer.Port != 10000 || !got[0].Revokes() {
		t.Errorf("applied %+v", got)
	}
	if got := <-f.ended; len(got) != 1 || got[0].Peer.Port != 10000 {
		t.Errorf("the connections of %+v end", got)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if got := f.last(); len(got) != 1 || got[0].Peer.Port != 10009 || !got[0].Revokes() {
		t.Errorf("closed %+v", got)
	}
	holdertest.Stop(t, c, done)
}

// TestNumbersAreApart: two attempts from one address are two grants of the firewall.
// The holder refuses an address alone where the configuration requires a number.
func TestNumbersAreApart(t *testing.T) {
	var f fakeFirewall
	isn := access.ID("isn")
	policy := holder.Policy{Services: []holder.Service{{ID: isn, Name: "isn", OpenMax: time.Hour, PrefixLen6: 128, RequireISN: true}}}
	c, done := holdertest.Start(t, holder.Config{Policy: policy, Claim: holder.Claimed(&f), Schedule: highPorts, Clock: running})
	e := holder.NewEnforcer(c, isn)
	of := func(n wire.ISN, d time.Duration) access.Change {
		change := access.Change{Service: isn, Peer: peer("192.0.2.1")}
		if change.Peer.ISN = n; d > 0 {
			change.Until = running.Boot().Add(d)
		}
		return change
	}
	if err := errors.Join(e.Apply([]access.Change{of(1, time.Minute), of(1<<31, time.Minute)})...); err != nil {
		t.Fatal(err)
	}
	if got := f.last(); len(got) != 2 || got[0].Peer.ISN != 1 || got[1].Peer.ISN != 1<<31 {
		t.Errorf("applied %+v", got)
	}
	if err := one(e, of(0, time.Minute)); err == nil || !strings.Contains(err.Error(), "sequence number") {
		t.Errorf("an address alone: %v", err)
	}
	if err := one(e, of(1, 0)); err != nil {
		t.Fatal(err)
	}
	if got := f.last(); len(got) != 1 || got[0].Peer.ISN != 1 || !got[0].Revokes() {
		t.Errorf("applied %+v", got)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if got := f.last(); len(got) != 1 || got[0].Peer.ISN != 1<<31 || !got[0].Revokes() {
		t.Errorf("closed %+v", got)
	}
	holdertest.Stop(t, c, done)
}

// TestEndedByTheKernel: elements that the kernel has removed need no request,
// unless connections must end.
func TestEndedByTheKernel(t *testing.T) {
	f := fakeFirewall{ended: make(chan []access.Change)}
	now := epoch
	stopped := func() time.Time { return now }
	c, done := readyAt(t, &f, clock.Clock{Wall: stopped, Monotonic: stopped, Boot: stopped})
	lives, ends := holder.NewEnforcer(c), holder.NewEnforcer(c, ssh)
	a, onLink := peer("192.0.2.1"), access.PeerOf(netip.MustParseAddr("fe80::1%2"), 128)
	open := func(e *holder.Enforcer, p access.Peer) {
		t.Helper()
		if err := one(e, access.Change{Service: ssh, Peer: p, Until: now.Add(time.Second)}); err != nil {
			t.Fatal(err)
		}
	}
	open(lives, a)
	open(ends, a)
	now = now.Add(time.Second - 1)
	if lives.Apply([]access.Change{revokes(a, true)}); !slices.Equal(f.last(), []access.Change{revokes(a, false)}) {
		t.Errorf("before its end: applied %+v", f.last())
	}
	open(lives, a)
	now = now.Add(time.Second)
	before := len(f.applied)
	if lives.Apply([]access.Change{revokes(a, true), revokes(peer("192.0.2.4"), true)}); len(f.applied) != before {
		t.Errorf("after its end: applied %+v", f.applied[before:])
	}
	cut := []access.Change{revokes(a, true), revokes(peer("192.0.2.4"), true)}
	if ends.Apply(cut); !slices.Equal(f.last(), cut) {
		t.Errorf("applied %+v", f.last())
	}
	if ended := <-f.ended; !slices.Equal(ended, cut) {
		t.Errorf("ended %+v", ended)
	}
	// A lease that has ended does not open.
	before = len(f.applied)
	err := one(lives, access.Change{Service: ssh, Peer: a, Until: now.Add(-time.Hour)})
	if err != nil || len(f.applied) != before {
		t.Errorf("what is over: applied %+v, %v", f.applied[before:], err)
	}
	// A link-local address is admitted on every link.
	if open(lives, onLink); f.last()[0].Peer != peer("fe80::1") {
		t.Errorf("applied %+v", f.last())
	}
	if err := lives.Close(); err != nil || f.last()[0].Peer != peer("fe80::1") || !f.last()[0].Revokes() {
		t.Errorf("closed %+v, %v", f.last(), err)
	}
	if err := one(lives, opens(a, time.Hour)); !errors.Is(err, access.ErrClosed) {
		t.Errorf("after it was closed: %v", err)
	}
	c.Stop()
	<-done
}

// TestSuspended: when the host resumes, the kernel's elements have as much time
// left as before the suspension. Leases that have ended must be revoked.
func TestSuspended(t *testing.T) {
	var f fakeFirewall
	host := clocktest.NewHost()
	c, done := readyAt(t, &f, host.Clock())
	e := holder.NewEnforcer(c)
	a := peer("192.0.2.1")
	if err := one(e, access.Change{Service: ssh, Peer: a, Until: host.Clock().Boot().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	host.Step(time.Hour)
	host.Step(-2 * time.Hour)
	host.Suspend(2 * time.Hour)
	if e.Apply([]access.Change{revokes(a, false)}); !slices.Equal(f.last(), []access.Change{revokes(a, false)}) {
		t.Errorf("applied %+v", f.last())
	}
	c.Stop()
	<-done
}

// TestDisconnects: requests do not wait for a slow Disconnect.
func TestDisconnects(t *testing.T) {
	f := fakeFirewall{ended: make(chan []access.Change)}
	c, done := ready(t, &f)
	e := holder.NewEnforcer(c, ssh)
	var asked []access.Change
	cut := func() {
		change := revokes(access.PeerOf(netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + len(asked))}), 128), true)
		asked = append(asked, change)
		if err := one(e, change); err != nil {
			t.Fatal(err)
		}
	}
	// The first request waits at f.ended; those after it share one call.
	for range 10 {
		cut()
	}
	if err := one(e, opens(peer("192.0.2.1"), time.Hour)); err != nil {
		t.Errorf("a grant meanwhile: %v", err)
	}
	// The holder carries out all requests even if the server stops.
	go c.Stop()
	<-c.Dead()
	calls := 0
	for left := asked; len(left) > 0; calls++ {
		ended := <-f.ended
		if len(ended) == 0 || !slices.Equal(ended, left[:len(ended)]) {
			t.Fatalf("ended %+v, where %+v are left", ended, left)
		}
		left = left[len(ended):]
	}
	if calls > 2 {
		t.Errorf("%d calls", calls)
	}
	<-done
}

func TestFailedRevocationGivesUpTheHolder(t *testing.T) {
	var f fakeFirewall
	c, done := ready(t, &f)
	e := holder.NewEnforcer(c)
	a := peer("192.0.2.1")
	if err := one(e, opens(a, time.Hour)); err != nil {
		t.Fatal(err)
	}
	f.fail = errors.New("no room")
	one(e, revokes(a, false))
	if err := c.Err(); !errors.Is(err, holder.ErrDead) || !strings.Contains(err.Error(), "no room") {
		t.Errorf("got %v", err)
	}
	if e := <-done; e.Orderly || f.closed != 1 {
		t.Errorf("ended %+v, closed %d times", e, f.closed)
	}
}

// TestLinksShareAnElement: the firewall does not distinguish links. An element
// stays while a lease of another link admits the address, whatever the order in
// the batch; and a failed grant leaves no record.
func TestLinksShareAnElement(t *testing.T) {
	f := fakeFirewall{ended: make(chan []access.Change, 4)} // not read
	c, done := ready(t, &f)
	e := holder.NewEnforcer(c, ssh)
	until := func(d time.Duration) time.Time { return running.Boot().Add(d) }
	at := func(zone string, until time.Time) access.Change {
		return access.Change{Service: ssh, Peer: access.PeerOf(netip.MustParseAddr("fe80::1%"+zone), access.PrefixHost), Until: until}
	}
	last := func() (all []access.Change) {
		t.Helper()
		if len(f.applied) == 0 {
			t.Fatal("nothing was applied")
		}
		return f.applied[len(f.applied)-1]
	}
	apply := func(changes ...access.Change) []error { return e.Apply(changes) }
	if errs := apply(at("2", until(20*time.Minute))); errs != nil {
		t.Fatal(errs)
	}
	for _, batch := range [][]access.Change{
		{at("3", until(25*time.Minute)), at("2", time.Time{})},
		{at("2", time.Time{}), at("3", until(25*time.Minute))},
	} {
		if errs := apply(batch...); errs != nil {
			t.Fatal(errs)
		}
		if got := last(); len(got) != 1 || got[0].Revokes() || time.Until(got[0].Until) < 20*time.Minute {
			t.Errorf("%v became %v", batch, got)
		}
	}
	f.fail = errors.New("no room")
	if errs := apply(at("4", until(29*time.Minute))); len(errs) != 1 || errs[0] == nil {
		t.Errorf("a grant without room: %v", errs)
	}
	f.fail = nil
	if errs := apply(at("3", time.Time{})); errs != nil || !last()[0].Revokes() {
		t.Errorf("the last lease has ended: %v, %v", last(), errs)
	}
	// The connections of one link must end, and the lease of the other has just
	// ended.
	ended := at("2", time.Time{})
	ended.Cut = true
	for _, batch := range [][]access.Change{{ended, at("3", time.Time{})}, {at("3", time.Time{}), ended}} {
		if errs := apply(at("2", until(20*time.Minute)), at("3", until(25*time.Minute))); errs != nil {
			t.Fatal(errs)
		}
		if errs := apply(batch...); errs != nil || len(last()) != 1 || !last()[0].Revokes() || !last()[0].Cut {
			t.Errorf("%v became %v, %v", batch, last(), errs)
		}
	}
	c.Stop()
	<-done
}
