package relay

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"
)

// TestReach: a gateway knows which others it hears, which hear it, and which have another key.
func TestReach(t *testing.T) {
	w := newWorld(t, 3)
	want := func(when string, at string, all ...Reach) {
		t.Helper()
		got := w.node(at).reach(w.now)
		slices.SortFunc(got, func(a, b Reach) int { return IDOf(a.Name).compare(IDOf(b.Name)) })
		slices.SortFunc(all, func(a, b Reach) int { return IDOf(a.Name).compare(IDOf(b.Name)) })
		if !slices.Equal(got, all) {
			t.Errorf("%s: %+v, want %+v", when, got, all)
		}
	}
	good := func(name string) Reach { return Reach{Name: name, Heard: true, Hears: true} }
	want("all run", "gw1", good("gw2"), good("gw3"))
	w.cut = func(from, to string) bool { return from == "gw1" && to == "gw2" }
	for range 5 {
		w.pass(Beat)
	}
	want("one way is cut", "gw1", Reach{Name: "gw2", Heard: true}, good("gw3"))
	w.cut = func(from, to string) bool { return to == "gw2" || from == "gw2" }
	for range 5 {
		w.pass(Beat)
	}
	want("silence", "gw1", Reach{Name: "gw2"}, good("gw3"))
	w.cut = func(string, string) bool { return false }
	other, err := newNode("gw2", w.gateways, Key{"another key of at least 32 characters"}, w.rate, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w.nodes[w.gateways["gw2"]] = other
	w.pass(Beat)
	want("another key", "gw1", Reach{Name: "gw2", Forged: true}, good("gw3"))
}

// TestProbeMakesNoRunCurrent: a probe, and any datagram that answers it, let no gateway count
// the one that is probed for as alive, and change nothing that it relays or coordinates.
func TestProbeMakesNoRunCurrent(t *testing.T) {
	w := newWorld(t, 3)
	for _, stopped := range []bool{false, true} { // it ran just before, or not for long
		delete(w.nodes, w.gateways["gw3"])
		if stopped {
			for range 5 {
				w.pass(Beat)
			}
		}
		asker, err := newNode("gw3", w.gateways, testKey, DefaultRate, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		found := make([]Reach, 3)
		before := w.node("gw1").eligible
		for range 3 {
			w.now = w.now.Add(probePause)
			for i := range asker.peers {
				if i != asker.own {
					w.inject(sent{w.gateways["gw3"], asker.peers[i].addr, asker.probe(i)})
				}
			}
			for from, n := range w.nodes {
				for _, o := range n.outgoing {
					if o.to == w.gateways["gw3"] {
						asker.answered(found, from, o.b)
					}
				}
				n.outgoing = n.outgoing[:0]
			}
		}
		for i, r := range found {
			if i != asker.own && (!r.Heard || !r.Hears || r.Forged) {
				t.Errorf("%s: %+v", asker.peers[i].name, r)
			}
		}
		if len(asker.outgoing) > 0 {
			t.Error("the probe has answered")
		}
		for _, name := range []string{"gw1", "gw2"} {
			n := w.node(name)
			for i := range n.peers {
				p := &n.peers[i]
				if p.name == "gw3" && (p.known && p.run == asker.run || stopped && !p.heard.IsZero()) {
					t.Errorf("%s hears the probe", name)
				}
			}
		}
		if w.node("gw1").eligible != before {
			t.Error("the probe changes who coordinates")
		}
		// The gateway itself starts as before.
		w.start("gw3")
		for range 3 {
			w.pass(Beat)
		}
		for _, r := range w.node("gw1").reach(w.now) {
			if !r.Heard || !r.Hears {
				t.Errorf("after the start: %+v", r)
			}
		}
	}
}

// TestProbe: over sockets, of a gateway that runs, one with another key, and one that does
// not run. A Relay that starts meanwhile waits for the address.
func TestProbe(t *testing.T) {
	t.Parallel()
	gateways := map[string]netip.AddrPort{}
	held := map[string]*net.UDPConn{}
	names := []string{"asks", "runs", "other", "none"}
	for _, name := range names {
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		gateways[name], held[name] = c.LocalAddr().(*net.UDPAddr).AddrPort(), c
	}
	config := func(name string, key Key) Config {
		return Config{Name: name, Gateways: gateways, Key: key, Sink: func([]Packet) {}, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	}
	start := func(name string, key Key) *Relay {
		held[name].Close()
		r, err := Open(config(name, key))
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error)
		ctx, stop := context.WithCancel(t.Context())
		go func() { ended <- r.Run(ctx) }()
		t.Cleanup(func() { stop(); <-ended })
		return r
	}
	runs := start("runs", testKey)
	start("other", Key{"another key of at least 32 characters"})
	if _, err := Probe(t.Context(), config("asks", testKey)); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("an address in use: %v", err)
	}
	held["asks"].Close()
	opened := make(chan *Relay)
	found, err := Probe(t.Context(), config("asks", testKey))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]Reach{"runs": {"runs", true, true, false}, "other": {"other", false, false, true}, "none": {Name: "none"}}
	for _, r := range found {
		if want[r.Name] != r {
			t.Errorf("got %+v", r)
		}
	}
	if len(found) != 3 {
		t.Errorf("got %+v", found)
	}
	if heard, _ := runs.Hears(); heard != 0 {
		t.Error("a gateway counts the probe as one that runs")
	}
	if held["asks"], err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(gateways["asks"])); err != nil {
		t.Fatal(err)
	}
	go func() {
		r, err := Open(config("asks", testKey))
		if err != nil {
			t.Error(err)
		}
		opened <- r
	}()
	select {
	case <-opened:
		t.Error("a relay opens with an address in use")
	case <-time.After(2 * bindPause):
	}
	held["asks"].Close()
	if r := <-opened; r != nil {
		r.Close()
	}
	held["none"].Close()
}

// TestRunEndsInOrder: the end of its context is no error, whichever goroutine sees it first.
func TestRunEndsInOrder(t *testing.T) {
	t.Parallel()
	free, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	own := free.LocalAddr().(*net.UDPAddr).AddrPort()
	free.Close()
	cfg := Config{
		Name: "gw1", Gateways: map[string]netip.AddrPort{"gw1": own, "gw2": netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), own.Port())},
		Key: testKey, Sink: func([]Packet) {}, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	}
	for range 1000 {
		r, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- r.Run(ctx) }()
		time.Sleep(50 * time.Microsecond)
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
}
