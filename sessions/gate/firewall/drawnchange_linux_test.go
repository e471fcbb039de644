package firewall

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/access"
)

// TestDrawnReplaces: a table with drawn ports takes the place of one without, and of
// one of an earlier release, and the other way round, in place: the chains that both
// have stay, so that no packet finds them empty. Connections continue.
func TestDrawnReplaces(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	l := w.drawnService(2000)
	fixed := Config{Ports: []Port{{Protocol: TCP, Port: 2000}, {Protocol: UDP, Port: 10001}}}
	redirect := Config{Ports: []Port{{Protocol: TCP, Port: 2000, Drawn: drawnRange}, {Protocol: UDP, Port: 10001}}}
	listen := Config{Ports: []Port{{Protocol: TCP, Port: 2000}, {Protocol: UDP, Port: 10001}, {Protocol: UDP, Drawn: drawnRange}}}
	both := Config{Ports: []Port{redirect.Ports[0], fixed.Ports[1], listen.Ports[2]}}
	type connection struct {
		there net.Conn
		here  *net.TCPConn
		drawn bool
	}
	var connections []connection
	var handles []string
	for i, cfg := range []Config{fixed, redirect, fixed, both, listen, redirect, fixed} {
		f := w.claim(cfg)
		c, err := read()
		w.must(err)
		var names []string
		for _, chain := range c.chains {
			if chain[unix.NFTA_CHAIN_HOOK] == nil {
				continue
			}
			name := chain.text(unix.NFTA_CHAIN_NAME)
			if names = append(names, name); name == "guard" {
				handles = append(handles, string(chain[unix.NFTA_CHAIN_HANDLE]))
			}
		}
		for name, want := range map[string]bool{"drawn": cfg.redirects(), "drawn_local": cfg.redirects(), "late": cfg.listens(), "guard": true} {
			if slices.Contains(names, name) != want {
				t.Errorf("table %d has the base chains %v", i, names)
			}
		}
		connections = slices.DeleteFunc(connections, func(of connection) bool {
			// Without a chain of translation, the kernel translates nothing.
			lives := w.arrives(of.there, of.here)
			if lives == (of.drawn && !cfg.redirects()) {
				t.Errorf("table %d: an earlier connection, of a drawn port %v, lives: %v", i, of.drawn, lives)
			}
			return !lives
		})
		if got := w.outcome(TCP, client4, host4, 2000); got != "silent" {
			t.Errorf("table %d: the port is %s", i, got)
		}
		port := uint16(2000)
		grant := change(0, client4, time.Hour)
		if cfg.redirects() {
			port = 10000 + uint16(i)
			grant = drawnChange(0, access.PeerOf(client4, 128), port, time.Hour)
		}
		w.must(f.do(grant))
		there := w.connect(client4, port)
		connections = append(connections, connection{there, w.acceptedFrom(l, there), cfg.redirects()})
		// A loaded copy of the table is replaced, too.
		text := w.run(nil, "list", "table", "inet", Name)
		w.nft("delete table inet " + Name + "\n" + tracking)
		w.nft(string(text))
		if r, err := f.Restore(); err != nil || r.Err != nil || r.Fault != Replaced {
			t.Errorf("table %d: a loaded copy: %+v, %v", i, r, err)
		}
		handles = handles[:0] // the copy's chains are others
		c, err = read()
		w.must(err)
		for _, chain := range c.chains {
			if chain.text(unix.NFTA_CHAIN_NAME) == "guard" {
				handles = append(handles, string(chain[unix.NFTA_CHAIN_HANDLE]))
			}
		}
	}
	if slices.ContainsFunc(handles, func(h string) bool { return h != handles[0] }) {
		t.Errorf("the chain guard was made again: %x", handles)
	}
}

// TestDrawnElements: elements that another program adds, or removes, are found.
func TestDrawnElements(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	w.answering(nil, 2000)
	f := w.claim(Config{Ports: []Port{{Protocol: TCP, Port: 2000, Drawn: drawnRange}, {Protocol: TCP, Drawn: drawnRange}}})
	w.must(f.do(drawnChange(0, access.PeerOf(client6, 64), 10000, time.Hour), drawnChange(1, access.PeerOf(client6, 128), 10001, time.Hour)))
	for script, want := range map[string]Fault{
		"": "",
		"add element inet sallyport tcp_2000_drawn4 { 198.51.100.3 . 10000 timeout 1h }":  Elements,
		"add element inet sallyport tcp_2000_drawn6 { 2001:db8:1::3 . 10000 timeout 1h }": Elements,
		"delete element inet sallyport tcp_2000_drawn6net { 0x20010db800000000 . 10000 }": Elements,
		"flush set inet sallyport tcp_" + serviceOf(1).String() + "_drawn6":               Elements,
		"insert rule inet sallyport drawn tcp dport 10000 dnat to :2000":                  Changed,
		"delete chain inet sallyport drawn_local":                                         Changed,
		"flush chain inet sallyport tcp_2000_drawn":                                       Changed,
	} {
		if script != "" {
			if script == "delete chain inet sallyport drawn_local" {
				w.nft("flush chain inet sallyport drawn_local")
			}
			w.nft(script)
		}
		r, err := f.Restore()
		w.must(errors.Join(err, r.Err))
		if r.Fault != want {
			t.Errorf("%q: %+v", script, r)
		}
		if got := w.outcome(TCP, client6, host6, 10000); got != "open" {
			t.Errorf("%q: the grant is %s", script, got)
		}
		if got := w.outcome(TCP, stranger4, host4, 10000); got != "closed" {
			t.Errorf("%q: a stranger's port is %s", script, got)
		}
	}
	granted(t, f, 3) // two grants, and a port in use
}

// TestDrawnOlderKernels: without labels of connections, there is no table, rather than
// one that is open; drawn ports on which the server listens require none. Without
// reject before routing, a port that rejects is closed all the same.
func TestDrawnOlderKernels(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	w.answering(nil, 2000)
	w.answering(nil, 10001)
	redirect := withServices(Config{Ports: []Port{{Protocol: TCP, Port: 2000, Drawn: drawnRange, Reject: true}}})
	if _, err := claim(redirect, tester, false, now, abilities{}); !errors.Is(err, errNoRedirect) {
		t.Errorf("without labels: %v", err)
	}
	for _, cut := range []bool{false, true} {
		redirect.Ports[0].Cut = cut
		f, err := claim(redirect, tester, false, now, abilities{labels: true})
		w.must(err)
		if got := w.outcome(TCP, client4, host4, 2000); got != "closed" {
			t.Errorf("the real port is %s", got)
		}
		w.must(f.grantDrawn(0, client4, 10000, time.Hour))
		if got := w.outcome(TCP, client4, host4, 10000); got != "open" {
			t.Errorf("the drawn port is %s", got)
		}
		if got := w.outcome(TCP, client4, host4, 2000); got != "closed" {
			t.Errorf("the real port is %s", got)
		}
	}
	f, err := claim(withServices(Config{Ports: []Port{{Protocol: TCP, Drawn: drawnRange}}}), tester, false, now, abilities{})
	w.must(err)
	w.must(f.grantDrawn(0, client4, 10001, time.Hour))
	for from, want := range map[netip.Addr]string{client4: "open", stranger4: "closed"} {
		if got := w.outcome(TCP, from, host4, 10001); got != want {
			t.Errorf("from %s: %s", from, got)
		}
	}
}

// TestDrawnStealth: a redirected UDP port is reached through Stealth, whatever the
// numbers of the ports, and a stranger's datagram gets no answer.
func TestDrawnStealth(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	for _, port := range []uint16{53, 2000} {
		w.answering(nil, port)
		for _, cut := range []bool{false, true} {
			f := w.claim(Config{Ports: []Port{{Protocol: UDP, Port: port, Drawn: drawnRange, Cut: cut}}, Stealth: true})
			w.must(f.grantDrawn(0, client4, 10000, time.Hour))
			for _, row := range []struct {
				from netip.Addr
				port uint16
				want string
			}{
				{client4, 10000, "open"}, {client4, 10001, "silent"}, {client4, port, "silent"},
				{stranger4, 10000, "silent"}, {stranger4, 10001, "silent"}, {stranger4, port, "silent"}, {client6, 10000, "silent"},
			} {
				if got := w.expect(UDP, row.from, row.port, row.want); got != row.want {
					t.Errorf("port %d, cut %v: %+v: %s", port, cut, row, got)
				}
			}
		}
	}
}

// TestDrawnLingers: packets of a flow whose lease has ended keep the drawn port among
// those that answer strangers as unused, since the server keeps its socket.
func TestDrawnLingers(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	w.answering(nil, 10000)
	f := w.claim(Config{Ports: []Port{{Protocol: UDP, Drawn: drawnRange}}})
	w.must(f.grantDrawn(0, client4, 10000, time.Hour))
	flow := datagram(client4, host4, 40000, 10000, []byte("?"))
	netns.Until(t, "an answer", func() bool { return w.answered(40000, flow) })
	w.must(f.do(drawnChange(0, access.PeerOf(client4, 128), 10000, 0)))
	used := f.sets.named["udp_"+serviceOf(0).String()+usedSuffix]
	f.mu.Lock()
	short := targets{f.ports[serviceOf(0)].drawn.usedElement(10000): time.Second}
	w.must(f.apply(short))
	f.record(short, true)
	f.mu.Unlock()
	netns.Until(t, "an answer after the lease", func() bool { return w.answered(40000, flow) })
	batch, err := newBatch()
	w.must(err)
	elements, err := elementsOf(batch, used)
	w.must(err)
	if len(elements) != 1 || elements[0].Expires < usedFlow/2 {
		t.Errorf("used: %+v", elements)
	}
	if got := w.outcome(UDP, stranger4, host4, 10000); got != "closed" {
		t.Errorf("to a stranger, the port is %s", got)
	}
	if r, err := f.Restore(); err != nil || r.Fault != "" {
		t.Errorf("a renewed element is a fault: %+v, %v", r, err)
	}
}

// TestDrawnJump: an operator's chain sees the first packet of a redirected connection,
// once, with the real port, and may drop it.
func TestDrawnJump(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	l := w.drawnService(2000)
	for _, cut := range []bool{false, true} {
		w.nft("flush ruleset")
		f := w.claim(Config{Ports: []Port{{Protocol: TCP, Port: 2000, Drawn: drawnRange, Cut: cut, Jump: "operator"}}})
		w.rules("tcp dport 2000 counter", "ip saddr 198.51.100.3 drop", "accept")
		w.must(f.do(drawnChange(0, access.PeerOf(client4, 128), 10000, time.Hour), drawnChange(0, access.PeerOf(stranger4, 128), 10000, time.Hour)))
		there := w.connect(client4, 10000)
		here := w.acceptedFrom(l, there)
		for range 2 {
			if !w.arrives(there, here) {
				t.Errorf("cut %v: the connection is dead", cut)
			}
		}
		if n := w.counted(); n != 1 {
			t.Errorf("cut %v: the chain has seen %d packets of a connection", cut, n)
		}
		for from, want := range map[netip.Addr]string{client4: "open", stranger4: "silent", client6: "closed"} {
			if got := w.outcome(TCP, from, hostOf(from), 10000); got != want {
				t.Errorf("cut %v: from %s: %s", cut, from, got)
			}
		}
		if got := w.outcome(TCP, client4, host4, 2000); got != "silent" {
			t.Errorf("cut %v: the real port is %s", cut, got)
		}
		// The chain stays when the port becomes fixed, and rotates again.
		w.claim(Config{Ports: []Port{{Protocol: TCP, Port: 2000, Cut: cut, Jump: "operator"}}})
		f = w.claim(Config{Ports: []Port{{Protocol: TCP, Port: 2000, Drawn: drawnRange, Cut: cut, Jump: "operator"}}})
		w.must(f.do(drawnChange(0, access.PeerOf(client4, 128), 10000, time.Hour), drawnChange(0, access.PeerOf(stranger4, 128), 10000, time.Hour)))
		for from, want := range map[netip.Addr]string{client4: "open", stranger4: "silent"} {
			if got := w.outcome(TCP, from, hostOf(from), 10000); got != want {
				t.Errorf("cut %v, after two more tables: from %s: %s", cut, from, got)
			}
		}
		there.Close()
		here.Close()
	}
}
