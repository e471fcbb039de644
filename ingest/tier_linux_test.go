package ingest

import (
	"bytes"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/ingest/prefilter/prefiltertest"
	"sallyport/ingest/udp"
	"sallyport/verify"
	"sallyport/verify/schedule"
)

// announced records the calls of Config.PortsChanged.
type announced struct {
	mu   sync.Mutex
	last map[uint16]time.Time
	n    int
}

func (o *announced) portsChanged(ports map[uint16]time.Time) error {
	// They are open by now, or closed.
	for p := range ports {
		if l, err := net.ListenUDP("udp4", &net.UDPAddr{IP: loop4.AsSlice(), Port: int(p)}); err == nil {
			l.Close()
			return errors.New("a port without a listener")
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last = ports
	o.n++
	return nil
}

func (o *announced) get() (map[uint16]time.Time, int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last, o.n
}

func TestKnockSetHasOurPorts(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	const tolerance = time.Minute
	at := func(m schedule.Minute, i int) uint16 { p, _ := portsOf(3)(m); return p[i] }
	want := func(first schedule.Minute) map[uint16]time.Time {
		ports := map[uint16]time.Time{at(minute, 2): (first + 3).Start().Add(tolerance)}
		for m := first; m < first+3; m++ {
			for i := range 2 {
				ports[at(m, i)] = (m + 1).Start().Add(tolerance)
			}
		}
		return ports
	}
	// Another program has one of the ports, at one of the addresses.
	held := at(minute, 0)
	l, err := net.ListenUDP("udp6", &net.UDPAddr{IP: loop6.AsSlice(), Port: int(held)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var o announced
	s := startWith(t, 3, func(c *Config) { c.PortsChanged = o.portsChanged }, loop4, loop6)
	ours := want(minute - 1)
	delete(ours, held)
	got, _ := o.get() // before it is ready
	if !maps.Equal(got, ours) {
		t.Errorf("announced %v, want %v", got, ours)
	}
	l.Close()
	s.refresh(t)
	if got, _ := o.get(); !maps.Equal(got, want(minute-1)) {
		t.Errorf("announced %v, want also the port that was held: %v", got, want(minute-1))
	}
	_, before := o.get()
	if err := s.apply(Settings{Rules: rules(t, 3), Ports: listsOf(3)}); err != nil {
		t.Fatal(err)
	}
	if _, n := o.get(); n != before {
		t.Error("announced again without a change")
	}
	s.clock.Set((minute + 1).Start())
	s.refresh(t)
	if got, _ := o.get(); !maps.Equal(got, want(minute)) {
		t.Errorf("after the turn of the minute: announced %v, want %v", got, want(minute))
	}
}

// TestTiersAgree: the tiers, given each row's table, let in what the table
// accepts, over IPv4 and IPv6. The knock set knows ports only.
func TestTiersAgree(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	for _, row := range prefiltertest.Rows() {
		var open map[uint16]time.Time
		set := knockSet{set: func(m map[uint16]time.Time) error { open = m; return nil }}
		if _, err := set.Set(row.Table); err != nil {
			t.Fatal(err)
		}
		if _, has := open[row.Port]; has != row.Open() {
			t.Errorf("%s: the knock set has the port: %v", row.Name, has)
		}
		for _, at := range []netip.Addr{loop4, loop6} {
			socketFilterAgrees(t, row, at)
		}
	}
}

func socketFilterAgrees(t *testing.T, row prefiltertest.Row, at netip.Addr) {
	src, err := newSocketSource()
	if err != nil {
		t.Fatal(err)
	}
	defer src.close()
	log := slog.New(slog.DiscardHandler)
	// Of all ports of the table, but for one that is not in it.
	ps := newPortSet(udp.Addresses{at}, []*socketSource{src}, newSetup(4<<20, 1, log), false, log)
	ps.reconcile(row.Table, row.Table, nil)
	if _, has := row.Table.Ports[row.Port]; !has {
		if ps.heldByUs(row.Port) {
			t.Errorf("%s: the port is open", row.Name)
		}
		return
	}
	c, err := net.Dial("udp", netip.AddrPortFrom(at, row.Port).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := new(batch)
	for _, p := range prefiltertest.Packets() {
		c.Write(p.Datagram) // it has arrived, or was refused, when this returns
		if err := src.fill(b, 0); err != nil {
			t.Fatal(err)
		}
		want := row.Want(p.Datagram) == verify.Authentic
		if got := b.n == 1; got != want {
			t.Errorf("%s: %s: at %s the socket filter lets it in: %v, want %v", row.Name, p.Name, at, got, want)
		}
		if want && !bytes.Equal(b.datagram(0), p.Datagram) {
			t.Errorf("%s: %s: came as %x", row.Name, p.Name, b.datagram(0))
		}
		b.n = 0
	}
}

func TestKnockSetThatFailsEndsRun(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	broken := errors.New("broken")
	c := clock{now: minute.Start()}
	s, err := New(Config{
		Settings: Settings{Rules: rules(t, 3), Ports: listsOf(3)}, Sink: make(sink), Now: c.Now, Log: slog.New(slog.DiscardHandler),
		PortsChanged: func(map[uint16]time.Time) error { return broken },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
