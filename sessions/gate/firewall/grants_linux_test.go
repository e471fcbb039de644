package firewall

import (
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/bench/netns"
)

func TestGrants(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	w := newWorld(t)
	const ssh, web = 2000, 2001
	w.echo(ssh)
	w.echo(web)
	f := w.claim(Config{Ports: []Port{{Protocol: TCP, Port: ssh, Prefix6: 64}, {Protocol: TCP, Port: web, Prefix6: 128}}})
	neighbour6 := netip.MustParseAddr("2001:db8::99")
	expect := func(what string, want ...netip.Addr) {
		t.Helper()
		for _, a := range []netip.Addr{client4, stranger4, client6, neighbour6, stranger6} {
			in := false
			for _, b := range want {
				in = in || a == b
			}
			// A neighbour that there is not cannot hear the answer.
			if a == neighbour6 {
				continue
			}
			if got := w.open(a, ssh); got != in {
				t.Errorf("%s: %s gets in: %v", what, a, got)
			}
			if w.open(a, web) {
				t.Errorf("%s: %s gets in at another port", what, a)
			}
		}
	}
	expect("closed")
	w.must(f.Open(0, client4, time.Hour))
	expect("IPv4", client4)
	w.must(f.Open(0, neighbour6, time.Hour)) // its whole network
	expect("an IPv6 network", client4, client6)
	w.must(f.Close(0, client4))
	w.must(f.Close(0, client4))
	expect("IPv4 closed", client6)
	w.must(f.OpenToAll(0, time.Hour))
	expect("open to all", client4, client6, stranger4, stranger6)
	w.must(f.Close(0, netip.Addr{}))
	expect("not to all any more", client6)
	w.must(f.Open(0, netip.AddrFrom16(client4.As16()), time.Hour)) // in the form of an IPv6 address
	expect("mapped", client4, client6)
	w.must(f.CloseAll())
	expect("all closed")

	w.must(f.Open(1, neighbour6, time.Hour)) // it alone
	if w.open(client6, web) {
		t.Error("a neighbour gets in where all 128 bits count")
	}
	w.must(f.Open(0, netip.MustParseAddr("fe80::1%eth0"), time.Hour)) // no network, and no zone
	w.must(f.Close(0, netip.MustParseAddr("fe80::1:0:0:1")))
	granted(t, f, 2)
	w.must(f.Close(0, netip.MustParseAddr("fe80::1%2")))
	granted(t, f, 1)

	// What nobody ends, ends.
	w.must(f.Open(0, client4, 50*time.Millisecond))
	w.until("a grant ends", func() bool { return !w.open(client4, ssh) })
	w.must(f.Open(0, client4, time.Hour))
	w.must(f.Open(0, client4, time.Nanosecond))
	w.until("a grant that was shortened ends", func() bool { return !w.open(client4, ssh) })
}

// TestEstablished has a connection outlive its lease, or not.
func TestEstablished(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	w := newWorld(t)
	const lives, ends = 2000, 2001
	w.echo(lives)
	w.echo(ends)
	cfg := Config{Ports: []Port{{Protocol: TCP, Port: lives, Prefix6: 64}, {Protocol: TCP, Port: ends, Prefix6: 64, Cut: true, Reject: true}}}
	for _, client := range []netip.Addr{client4, client6} {
		f := w.claim(cfg)
		w.must(f.Apply([]Change{{Open, 0, client, time.Hour}, {Open, 1, client, time.Hour}}))
		a, b := w.connect(client, lives), w.connect(client, ends)
		if a == nil || b == nil {
			t.Fatalf("%s was granted and cannot connect", client)
		}
		for range 2 {
			f = w.claim(cfg) // over a table that nobody has cleared away
			granted(t, f, 0)
			for _, port := range []uint16{lives, ends} {
				if w.open(client, port) {
					t.Errorf("%s gets in at port %d after a new claim", client, port)
				}
			}
			if !alive(a, 20*time.Second) {
				t.Errorf("%s: the connection has ended with the lease", client)
			}
		}
		if alive(b, 20*time.Second) {
			t.Errorf("%s: the connection has outlived the lease", client)
		}
	}
}

// TestExtended has a client send without pause while its grant is extended
// without pause: nothing is lost.
func TestExtended(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	w := newWorld(t)
	here, err := net.ListenUDP("udp4", &net.UDPAddr{Port: 3000})
	w.must(err)
	defer here.Close()
	// With Cut every datagram is judged.
	f := w.claim(Config{Ports: []Port{{Protocol: UDP, Port: 3000, Prefix6: 128, Cut: true}}})
	for _, f.renews = range []bool{f.renews, false} { // false: as before Linux 6.12
		w.extended(f, here)
	}
}

func (w *world) extended(f *Table, here *net.UDPConn) {
	w.must(f.Open(0, client4, time.Hour))
	var done atomic.Bool
	extended := make(chan error)
	go func() {
		var err error
		for err == nil && !done.Load() {
			err = f.Open(0, client4, time.Hour)
		}
		extended <- err
	}()
	b := make([]byte, 10)
	for i := range 20000 {
		w.send(datagram(client4, host4, 4000, 3000, []byte("?")))
		here.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := here.Read(b); err != nil {
			w.Errorf("datagram %d: %v", i, err)
			break
		}
	}
	done.Store(true)
	w.must(<-extended)
}

// TestTimes opens, extends, shortens and closes in any order, often in the
// instant in which a grant ends by itself.
func TestTimes(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	w := newWorld(t)
	f := w.claim(Config{Ports: []Port{{Protocol: TCP, Port: 2000, Prefix6: 64}}})
	for _, f.renews = range []bool{f.renews, false} { // false: as before Linux 6.12
		times(t, f)
	}
}

func times(t *testing.T, f *Table) {
	addresses := []netip.Addr{client4, stranger4, client6, stranger6, {}}
	rapid.Check(t, func(t *rapid.T) {
		lasting := map[netip.Addr]bool{}
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			var changes []Change
			for range rapid.IntRange(1, 6).Draw(t, "changes") {
				c := Change{Kind: Open, Address: rapid.SampledFrom(addresses).Draw(t, "address")}
				switch rapid.IntRange(0, 3).Draw(t, "kind") {
				case 0:
					c.Kind = Close
				case 1:
					c.For = time.Hour
				default:
					c.For = time.Duration(rapid.IntRange(10, 13).Draw(t, "ms")) * time.Millisecond
				}
				lasting[c.Address] = c.For == time.Hour
				changes = append(changes, c)
			}
			if err := f.Apply(changes); err != nil {
				t.Fatalf("%v: %v", changes, err)
			}
			time.Sleep(time.Duration(rapid.IntRange(0, 12).Draw(t, "pause")) * time.Millisecond)
		}
		want := 0
		for _, l := range lasting {
			if l {
				want++
			}
		}
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			n, err := f.Granted()
			if err != nil || n < want {
				t.Fatalf("%d grants, want %d: %v", n, want, err)
			}
			if n == want {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%d grants never become %d", n, want)
			}
		}
		if err := f.CloseAll(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestManyGrants(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	w := newWorld(t)
	f := w.claim(Config{Ports: []Port{{Protocol: TCP, Port: 2000, Prefix6: 64}}})
	const many = 100_000
	all := func(kind Kind) {
		a := netip.MustParseAddr("10.0.0.0")
		for done := 0; done < many; {
			var changes []Change
			for ; len(changes) < MaxChanges && done < many; done++ {
				a = a.Next()
				changes = append(changes, Change{Kind: kind, Address: a, For: time.Hour})
			}
			w.must(f.Apply(changes))
		}
	}
	all(Open)
	granted(t, f, many)
	all(Close)
	granted(t, f, 0)
	all(Open)
	w.must(f.CloseAll())
	granted(t, f, 0)
}

func TestChangesThatCannotBe(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	w := newWorld(t)
	f := w.claim(Config{Ports: []Port{{Protocol: UDP, Port: 2000, Prefix6: 64}}})
	good := Change{Open, 0, client4, time.Hour}
	for name, c := range map[string]Change{
		"no kind":        {0, 0, client4, time.Hour},
		"other kind":     {Knock + 1, 0, client4, time.Hour},
		"no time":        {Open, 0, client4, 0},
		"negative time":  {Knock, 3000, netip.Addr{}, -1},
		"no port":        {Open, 1, client4, time.Hour},
		"negative port":  {Close, -1, client4, 0},
		"knocks at 0":    {Knock, 0, netip.Addr{}, time.Hour},
		"knocks beyond":  {Knock, 65536, netip.Addr{}, time.Hour},
		"knocks guarded": {Knock, 2000, netip.Addr{}, time.Hour},
	} {
		if err := f.Apply([]Change{good, c}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := f.Apply(make([]Change, MaxChanges+1)); err == nil {
		t.Error("too many: no error")
	}
	if err := f.Open(0, netip.Addr{}, time.Hour); err == nil {
		t.Error("no address: no error")
	}
	granted(t, f, 0)
	w.must(f.Apply(nil))
	w.must(Clear())
	if err := f.Apply([]Change{good}); err == nil {
		t.Error("the table is gone: no error")
	}
}
