package firewall

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/access"
)

func TestGrants(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	const ssh, web = 2000, 2001
	w.echo(ssh)
	w.echo(web)
	f := w.claim(Config{Ports: []Port{{Protocol: TCP, Port: ssh}, {Protocol: TCP, Port: web}}})
	neighbour6 := netip.MustParseAddr("2001:db8::99")
	expect := func(what string, want ...netip.Addr) {
		t.Helper()
		for _, a := range []netip.Addr{client4, stranger4, client6, neighbour6, stranger6} {
			in := false
			for _, b := range want {
				in = in || a == b
			}
			// A neighbour that does not exist cannot receive the answer.
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
	w.must(f.grant(0, client4, time.Hour))
	expect("IPv4", client4)
	w.must(f.grant(0, neighbour6, time.Hour)) // its whole network
	expect("an IPv6 network", client4, client6)
	w.must(f.revoke(0, client4))
	w.must(f.revoke(0, client4))
	expect("IPv4 closed", client6)
	w.must(f.anyone(0, time.Hour))
	expect("open to all", client4, client6, stranger4, stranger6)
	w.must(f.anyone(0, 0))
	expect("not to all any more", client6)
	w.must(f.grant(0, netip.AddrFrom16(client4.As16()), time.Hour)) // in the form of an IPv6 address
	expect("mapped", client4, client6)
	w.must(f.Close())
	expect("all closed")

	w.must(f.do(changeOf(1, access.PeerOf(neighbour6, access.PrefixHost), time.Hour))) // it alone
	if w.open(client6, web) {
		t.Error("a neighbour gets in where all 128 bits count")
	}
	w.must(f.grant(0, netip.MustParseAddr("fe80::1%3"), time.Hour)) // no network, and no zone
	w.must(f.revoke(0, netip.MustParseAddr("fe80::1:0:0:1")))
	granted(t, f, 2)
	w.must(f.revoke(0, netip.MustParseAddr("fe80::1%2")))
	granted(t, f, 1)

	// Grants that no call ends, end by their timeouts.
	w.must(f.grant(0, client4, 50*time.Millisecond))
	netns.Until(t, "a grant ends", func() bool { return !w.open(client4, ssh) })
	w.must(f.grant(0, client4, time.Hour))
	w.must(f.grant(0, client4, time.Nanosecond))
	netns.Until(t, "a grant that was shortened ends", func() bool { return !w.open(client4, ssh) })
}

// TestEstablished: a connection outlives its lease, or ends with it if Cut is
// set.
func TestEstablished(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	const lives, ends = 2000, 2001
	w.echo(lives)
	w.echo(ends)
	cfg := Config{Ports: []Port{{Protocol: TCP, Port: lives}, {Protocol: TCP, Port: ends, Cut: true, Reject: true}}}
	for _, client := range []netip.Addr{client4, client6} {
		f := w.claim(cfg)
		w.must(f.do(change(0, client, time.Hour), change(1, client, time.Hour)))
		a, b := w.connect(client, lives), w.connect(client, ends)
		if a == nil || b == nil {
			t.Fatalf("%s was granted and cannot connect", client)
		}
		for range 2 {
			f = w.claim(cfg) // replaces the table, which was not cleared
			granted(t, f, 0)
			for _, port := range []uint16{lives, ends} {
				if w.open(client, port) {
					t.Errorf("%s gets in at port %d after a new claim", client, port)
				}
			}
			if !w.alive(a) {
				t.Errorf("%s: the connection has ended with the lease", client)
			}
		}
		if w.alive(b) {
			t.Errorf("%s: the connection has outlived the lease", client)
		}
	}
}

// TestExtended has a client send continuously while its grant is extended again
// and again: no datagram is lost.
func TestExtended(t *testing.T) {
	// Not parallel: a flood also displaces the packets of other tests.
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	here, err := net.ListenUDP("udp4", &net.UDPAddr{Port: 3000})
	w.must(err)
	defer here.Close()
	// With Cut every datagram requires the grant.
	f := w.claim(Config{Ports: []Port{{Protocol: UDP, Port: 3000, Cut: true}}})
	for _, f.canUpdateTimeout = range []bool{f.canUpdateTimeout, false} { // false: as before Linux 6.12
		w.extended(f, here)
	}
}

func (w *network) extended(f *Table, here *net.UDPConn) {
	w.must(f.grant(0, client4, time.Hour))
	var done atomic.Bool
	extended := make(chan error)
	go func() {
		var err error
		for err == nil && !done.Load() {
			err = f.grant(0, client4, time.Hour)
		}
		extended <- err
	}()
	b := make([]byte, 10)
	many := 20000
	if testing.Short() {
		many = 4000
	}
	for i := range many {
		w.send(datagram(client4, host4, 4000, 3000, []byte("?")))
		here.SetReadDeadline(netns.Deadline(w))
		if _, err := here.Read(b); err != nil {
			w.Errorf("datagram %d: %v", i, err)
			break
		}
	}
	done.Store(true)
	w.must(<-extended)
}

// TestExtendedByTheSameTime: a grant that is repeated with the same duration
// lasts for that duration from then on.
func TestExtendedByTheSameTime(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	f := w.claim(Config{Ports: []Port{{Protocol: TCP, Port: 2000}}})
	for _, f.canUpdateTimeout = range []bool{f.canUpdateTimeout, false} { // false: as before Linux 6.12
		w.must(f.grant(0, client4, time.Hour))
		for range 3 {
			time.Sleep(200 * time.Millisecond)
			granted := time.Now()
			w.must(f.grant(0, client4, time.Hour))
			batch, err := newBatch()
			w.must(err)
			elements, err := batch.GetSetElements(f.ports[serviceOf(0)].granted4)
			w.must(err)
			if len(elements) != 1 || elements[0].Expires < time.Hour-time.Since(granted)-50*time.Millisecond {
				t.Errorf("canUpdateTimeout %v: %+v ends as if it had not been granted again", f.canUpdateTimeout, elements)
			}
		}
	}
}

// TestTimes opens, extends, shortens and revokes in any order, often at the
// instant in which a grant ends by itself.
func TestTimes(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	f := w.claim(Config{Ports: []Port{{Protocol: TCP, Port: 2000}}})
	for _, f.canUpdateTimeout = range []bool{f.canUpdateTimeout, false} { // false: as before Linux 6.12
		times(w, f)
		if testing.Short() {
			return
		}
	}
}

func times(w *network, f *Table) {
	peers := []access.Peer{access.Anyone4}
	for _, a := range []netip.Addr{client4, stranger4, client6, stranger6} {
		peers = append(peers, access.PeerOf(a, access.PrefixNetwork))
	}
	rapid.Check(w, func(t *rapid.T) {
		lasting := map[access.Peer]bool{}
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			var changes []access.Change
			for range rapid.IntRange(1, 6).Draw(t, "changes") {
				var d time.Duration
				switch rapid.IntRange(0, 3).Draw(t, "kind") {
				case 0:
				case 1:
					d = time.Hour
				default:
					d = time.Duration(rapid.IntRange(10, 13).Draw(t, "ms")) * time.Millisecond
				}
				p := rapid.SampledFrom(peers).Draw(t, "peer")
				lasting[p] = d == time.Hour
				changes = append(changes, changeOf(0, p, d))
			}
			if err := f.do(changes...); err != nil {
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
		netns.Until(w, "the end of the short grants", func() bool {
			n, err := f.granted()
			if err != nil || n < want {
				t.Fatalf("%d grants, want %d: %v", n, want, err)
			}
			return n == want
		})
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestManyGrants: each grant to a service of 1,001 ports is one element.
func TestManyGrants(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	f := w.claim(Config{Ports: []Port{{Protocol: TCP, Port: 2000, Last: 3000}}})
	many := 100_000
	if testing.Short() {
		many = 3 * MaxChanges
	}
	all := func(d time.Duration) {
		a := netip.MustParseAddr("10.0.0.0")
		changes := make([]access.Change, many)
		for i := range changes {
			a = a.Next()
			changes[i] = change(0, a, d)
		}
		w.must(f.do(changes...))
	}
	all(time.Hour)
	granted(t, f, many)
	all(0)
	granted(t, f, 0)
	all(time.Hour)
	w.must(f.Close())
	granted(t, f, 0)
}

// TestInvalidChanges: each invalid change has an error, and does not prevent
// the others.
func TestInvalidChanges(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	f := w.claim(Config{Ports: []Port{{Protocol: UDP, Port: 2000}}})
	good := change(0, client4, time.Hour)
	bad := []access.Change{change(1, client4, time.Hour), {Service: serviceOf(0), Until: now.Boot().Add(time.Hour)}, change(7, client4, 0)}
	errs := f.Apply(append(bad, good))
	if len(errs) != 4 || errs[0] == nil || errs[1] == nil || errs[2] == nil || errs[3] != nil {
		t.Errorf("errors %v", errs)
	}
	granted(t, f, 1)
	for name, ports := range map[string][]uint16{"port 0": {3000, 0}, "a guarded port": {2000}} {
		if err := f.OpenKnockPorts(ports, time.Hour); err == nil {
			t.Errorf("%s takes knocks", name)
		}
	}
	if err := f.OpenKnockPorts([]uint16{3000}, 0); err == nil {
		t.Error("knocks for no time")
	}
	if errs := f.Apply(nil); errs != nil {
		t.Errorf("nothing: %v", errs)
	}
}

// TestFullSet: only the elements without room fail, in one transaction or in
// several.
func TestFullSet(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	f := w.claim(Config{Ports: []Port{{Protocol: TCP, Port: 2000}}})
	const room, many = 100, 300
	set := func(name, key string, size int) string {
		return fmt.Sprintf("set %s { type %s; flags timeout; size %d; }", name, key, size)
	}
	w.nft("flush ruleset; table inet " + Name + " { " + strings.Join([]string{
		set("tcp_2000_granted4", "ipv4_addr", room), set("tcp_2000_granted6", "ipv6_addr", many),
		set("tcp_2000_granted6net", "ipv6_addr", many), set("tcp_2000_anyone", "nf_proto", many),
		set("knock", "inet_service", many), set("settling", "inet_service", many),
	}, "; ") + "; }")
	a := netip.MustParseAddr("10.0.0.0")
	var changes []access.Change
	for i := range many {
		a = a.Next()
		changes = append(changes, change(0, a, time.Hour))
		if i%10 == 0 {
			// An element of another set, which has room.
			changes = append(changes, change(0, netip.AddrFrom16(append16("2001:db8:9::", a)), 0), changeOf(0, access.PeerOf(netip.AddrFrom16(append16("2001:db8:9::", a)), 128), time.Hour))
		}
	}
	opened, full := 0, 0
	for i, err := range f.Apply(changes) {
		switch {
		case err == nil && changes[i].Peer.Prefix.Addr().Is4():
			opened++
		case err != nil && changes[i].Peer.Prefix.Addr().Is4() && errors.Is(err, unix.ENFILE):
			full++
		case err != nil:
			t.Errorf("%s: %v", changes[i].Peer, err)
		}
	}
	if opened != room || full != many-room {
		t.Errorf("%d opened where there is room for %d; %d found it full", opened, room, full)
	}
	granted(t, f, room+many/10)
}
