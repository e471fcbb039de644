package firewall

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/access"
)

// The program of a service listens at port 2000, and the server before it at 3000.
const programPort, listenerPort = 2000, 3000

// root is the only user of the test's namespace.
var root = []uint32{0}

// waiting reports how many connections wait at a listener.
func (w *network) waiting(l net.Listener) (n int) {
	w.Helper()
	defer l.(*net.TCPListener).SetDeadline(time.Time{})
	for {
		w.must(l.(*net.TCPListener).SetDeadline(time.Now().Add(time.Millisecond)))
		c, err := l.Accept()
		if err != nil {
			return n
		}
		n++
		c.Close()
	}
}

// TestListener: connections of admitted peers to the program's port reach the listener
// before it, with the addresses of both ends. No host reaches the program, nor the
// listener at the listener's port.
func TestListener(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	program, listener := w.drawnService(programPort), w.drawnService(listenerPort)
	w.answering(nil, 2001)
	for _, reject := range []bool{false, true} {
		strangers := map[bool]string{false: "silent", true: "closed"}[reject]
		for _, address := range []netip.Addr{{}, host4, host6} {
			w.nft("flush ruleset\n" + tracking)
			f := w.claim(Config{Users: root, Ports: []Port{
				{Protocol: TCP, Port: programPort, Address: address, Listener: listenerPort, Reject: reject}, {Protocol: TCP, Port: 2001, Reject: reject},
			}})
			guarded := func(from netip.Addr) bool { return !address.IsValid() || address == hostOf(from) }
			expect := func(when string, from netip.Addr, port uint16, want string) {
				t.Helper()
				if !guarded(from) {
					return
				}
				if got := w.expect(TCP, from, port, want); got != want {
					t.Errorf("reject %v, at %s, %s: from %s to port %d: %s, want %s", reject, address, when, from, port, got, want)
				}
			}
			closedToAll := func(when string) {
				t.Helper()
				for _, from := range []netip.Addr{client4, client6, stranger4, stranger6} {
					expect(when, from, listenerPort, strangers)
					if from == stranger4 || from == stranger6 {
						expect(when, from, programPort, strangers)
					}
				}
			}
			in := func(when string, from netip.Addr) {
				t.Helper()
				if !guarded(from) {
					return
				}
				there := w.connect(from, programPort)
				here := w.acceptedFrom(listener, there)
				at := here.LocalAddr().(*net.TCPAddr).AddrPort()
				if at.Addr().Unmap() != hostOf(from) || at.Port() != listenerPort {
					t.Errorf("%s: the listener sees a connection to %s", when, at)
				}
				if !w.arrives(there, here) {
					t.Errorf("%s: nothing arrives from %s", when, from)
				}
				there.Close()
				here.Close()
			}
			closedToAll("before")
			expect("before", client4, programPort, strangers)
			w.must(f.do(change(0, client4, time.Hour), changeOf(0, access.PeerOf(client6, 64), time.Hour), change(1, client4, time.Hour)))
			in("granted", client4)
			in("granted", client6)
			if got := w.expect(TCP, client4, 2001, "open"); got != "open" {
				t.Errorf("the other service is %s", got)
			}
			closedToAll("granted")
			w.must(f.do(changeOf(0, access.Anyone4, time.Hour), changeOf(0, access.Anyone6, time.Hour)))
			in("for anyone", stranger4)
			for _, from := range []netip.Addr{client4, stranger4, stranger6} {
				expect("for anyone", from, listenerPort, strangers)
			}
			w.must(f.Close())
			closedToAll("closed")
			expect("closed", client4, programPort, strangers)
			expect("closed", client6, programPort, strangers)
			if n := w.waiting(program); n != 0 {
				t.Errorf("reject %v, at %s: %d connections reached the program", reject, address, n)
			}
		}
	}
}

// TestListenerConnections: a connection to the listener outlives its lease and the table;
// a new one with its ports does not begin, and one that the program got before the
// listener was configured ends.
func TestListenerConnections(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	w.write("/proc/sys/net/netfilter/nf_conntrack_tcp_loose", "1")
	program, listener := w.drawnService(programPort), w.drawnService(listenerPort)
	before := Config{Ports: []Port{{Protocol: TCP, Port: programPort}}}
	with := Config{Users: root, Ports: []Port{{Protocol: TCP, Port: programPort, Listener: listenerPort}}}
	for _, can := range []abilities{{labels: true, earlyReject: true}, {labels: true}} {
		for _, from := range []netip.Addr{client4, client6} {
			name := fmt.Sprintf("%+v, %s", can, from)
			w.nft("flush ruleset\n" + tracking)
			w.forget()
			f := w.claim(before)
			w.must(f.grant(0, from, time.Hour))
			directThere := w.connect(from, programPort)
			directHere := w.acceptedFrom(program, directThere)
			if !w.arrives(directThere, directHere) {
				t.Errorf("%s: nothing arrives at the program, without a listener", name)
			}
			f, err := claim(withServices(with), tester, true, now, can)
			w.must(err)
			if w.arrives(directThere, directHere) {
				t.Errorf("%s: a connection of the earlier table continues to the program", name)
			}
			w.must(f.grant(0, from, time.Hour))
			if w.arrives(directThere, directHere) {
				t.Errorf("%s: with a grant, a connection of the earlier table continues to the program", name)
			}
			there := w.connect(from, programPort)
			here := w.acceptedFrom(listener, there)
			// A gap, in which a stranger reaches the program.
			w.nft("flush ruleset\n" + tracking)
			stranger := stranger4
			if from.Is6() {
				stranger = stranger6
			}
			strangerThere := w.connect(stranger, programPort)
			strangerHere := w.acceptedFrom(program, strangerThere)
			r, err := f.Restore()
			w.must(err)
			w.must(r.Err)
			if r.Fault != Removed || !w.arrives(there, here) {
				t.Errorf("%s: after the table was made again, %+v, the connection is dead", name, r)
			}
			if w.arrives(strangerThere, strangerHere) {
				t.Errorf("%s: a connection that began in the gap continues", name)
			}
			w.must(f.revoke(0, from))
			if !w.arrives(there, here) {
				t.Errorf("%s: the connection ends with the lease", name)
			}
			source := uint16(there.LocalAddr().(*net.TCPAddr).Port)
			for _, a := range w.probe(segment(from, hostOf(from), source, programPort, flagSYN, nil)) {
				t.Errorf("%s: a SYN with the ports of the earlier connection is answered: %x", name, a)
			}
			// The kernel has forgotten the connection: it opens no way to the program.
			w.forget()
			for _, port := range []uint16{programPort, listenerPort} {
				for _, flags := range []byte{flagACK | flagPSH, flagSYN, flagSYN | flagACK} {
					for _, a := range w.probe(segment(from, hostOf(from), source, port, flags, []byte("!"))) {
						t.Errorf("%s: without a grant, a segment to port %d is answered: %x", name, port, a)
					}
				}
			}
			for _, c := range []net.Conn{there, here, directThere, directHere, strangerThere, strangerHere} {
				c.Close()
			}
			if n := w.waiting(program); n != 0 {
				t.Errorf("%s: %d more connections reached the program", name, n)
			}
		}
	}
}

// TestListenerDead: while nothing listens before it, a granted peer gets the answer of the
// host, and never the program. Translation of other programs leads to neither port.
func TestListenerDead(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	program := w.drawnService(programPort)
	f := w.claim(Config{Users: root, Ports: []Port{{Protocol: TCP, Port: programPort, Listener: listenerPort}}})
	withoutLabels := Config{Users: root, Ports: []Port{{Protocol: TCP, Port: programPort, Listener: listenerPort}}}
	_, err := claim(withServices(withoutLabels), tester, true, now, abilities{earlyReject: true})
	if !errors.Is(err, errNoRedirect) {
		t.Errorf("without labels of connections: %v", err)
	}
	w.must(f.grant(0, client4, time.Hour))
	w.must(f.grant(0, client6, time.Hour))
	for _, from := range []netip.Addr{client4, client6} {
		if got := w.expect(TCP, from, programPort, "closed"); got != "closed" {
			t.Errorf("without a listener, the port is %s to %s", got, from)
		}
	}
	w.answering(nil, listenerPort)
	w.nft(fmt.Sprintf(`table inet other { chain c { type nat hook prerouting priority -150; tcp dport 4000 redirect to :%d; tcp dport 4001 redirect to :%d; tcp dport %d redirect to :4002; }; }`,
		programPort, listenerPort, programPort))
	w.answering(nil, 4002)
	for _, from := range []netip.Addr{client4, stranger4, client6} {
		for _, port := range []uint16{4000, 4001, programPort} {
			if got := w.expect(TCP, from, port, "silent"); got != "silent" {
				t.Errorf("translated by another program, port %d is %s to %s", port, got, from)
			}
		}
	}
	w.nft("delete table inet other\ntable inet other { chain c { type nat hook prerouting priority -100; tcp dport 2000 redirect to :4002; }; }")
	if there := w.connect(client4, programPort); there == nil {
		t.Error("a rule for the port, after ours, keeps the client from the listener")
	}
	if n := w.waiting(program); n != 0 {
		t.Errorf("%d connections reached the program", n)
	}
}

// TestListenerFromHere: on this host, only the users that the table names connect to the
// program, and none to the listener. Neither is redirected, whatever is granted.
func TestListenerFromHere(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	program, listener := w.drawnService(programPort), w.drawnService(listenerPort)
	cfg := Config{Ports: []Port{{Protocol: TCP, Port: programPort, Listener: listenerPort}}}
	dial := func(to netip.Addr, port uint16) error {
		c, err := net.DialTimeout("tcp", netip.AddrPortFrom(to, port).String(), time.Minute)
		if err == nil {
			c.Close()
		}
		return err
	}
	for _, users := range [][]uint32{root, {1, 1000}, {1, 0}, nil} {
		cfg.Users = users
		f := w.claim(cfg)
		w.must(f.do(changeOf(0, access.Anyone4, time.Hour), changeOf(0, access.Anyone6, time.Hour)))
		mayConnect := len(users) > 0 && (users[0] == 0 || users[1] == 0)
		for _, to := range []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback(), host4, host6} {
			err := dial(to, programPort)
			if (err == nil) != mayConnect || err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("users %v: a connection to the program at %s: %v", users, to, err)
			}
			if err == nil {
				here, err := program.Accept()
				w.must(err)
				here.Close()
			}
			if n := w.waiting(program); n != 0 {
				t.Errorf("users %v: the program at %s got %d connections more", users, to, n)
			}
			if err := dial(to, listenerPort); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("users %v: a connection to the listener at %s: %v", users, to, err)
			}
		}
		if n := w.waiting(listener); n != 0 {
			t.Errorf("users %v: the listener got %d connections", users, n)
		}
		// Connections of this host to the same ports of other hosts are not its business.
		w.must(w.outside.Do(func() error {
			l, err := net.Listen("tcp", netip.AddrPortFrom(client4, programPort).String())
			if err == nil {
				t.Cleanup(func() { l.Close() })
			} else if errors.Is(err, unix.EADDRINUSE) {
				err = nil
			}
			return err
		}))
		w.must(dial(client4, programPort))
	}
	// Another table that translates connections of this host leads to neither.
	w.nft(fmt.Sprintf(`table inet other { chain c { type nat hook output priority -100; tcp dport 4000 redirect to :%d; tcp dport 4001 redirect to :%d; }; }`,
		programPort, listenerPort))
	for _, to := range []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback(), host4, host6} {
		for _, port := range []uint16{4000, 4001} {
			if err := dial(to, port); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("translated from %s, port %d: %v", to, port, err)
			}
		}
	}
	if p, l := w.waiting(program), w.waiting(listener); p != 0 || l != 0 {
		t.Errorf("translated: the program got %d connections, the listener %d", p, l)
	}
}

// TestListenerConfig: ports of other kinds cannot have a listener.
func TestListenerConfig(t *testing.T) {
	for name, p := range map[string]Port{
		"UDP": {Protocol: UDP, Port: 1}, "a range": {Protocol: TCP, Port: 1, Last: 2}, "more": {Protocol: TCP, Port: 1, More: []At{{Ports: access.Ports{First: 7, Last: 7}}}},
		"forward": {Protocol: TCP, Port: 1, Hook: HookForward}, "input": {Protocol: TCP, Port: 1, Hook: HookInput}, "drawn": {Protocol: TCP, Port: 1, Drawn: drawnRange},
		"cut": {Protocol: TCP, Port: 1, Cut: true}, "ISN": {Protocol: TCP, Port: 1, RequireISN: true}, "jump": {Protocol: TCP, Port: 1, Jump: "operator"},
	} {
		p.Listener = listenerPort
		if err := (Config{Ports: []Port{p}}).Validate(); err == nil || !strings.Contains(err.Error(), "listener") {
			t.Errorf("%s: %v", name, err)
		}
	}
	behind := Port{Service: serviceOf(0), Protocol: TCP, Port: programPort, Listener: listenerPort}
	for name, other := range map[string]Port{
		"its own": {}, "another service's": {Protocol: TCP, Port: 2900, Last: 3100}, "another listener's": {Protocol: TCP, Port: 22, Listener: listenerPort},
	} {
		other.Service = serviceOf(1)
		ports := []Port{other, behind}
		if name == "its own" {
			ports = []Port{{Protocol: TCP, Port: listenerPort, Listener: listenerPort}}
		}
		err := Config{Ports: ports}.Validate()
		if err == nil || !strings.Contains(err.Error(), "its listener has port 3000") {
			t.Errorf("%s port: %v", name, err)
		}
	}
	trusted := map[access.ServiceID]Trusted{behind.Service: trustedForms("drop")}
	err := Config{Ports: []Port{behind}, Trusted: trusted}.Validate()
	if err == nil || !strings.Contains(err.Error(), "trusted") {
		t.Errorf("trusted peers: %v", err)
	}
	udp := Port{Service: serviceOf(1), Protocol: UDP, Port: listenerPort}
	if err := (Config{Ports: []Port{behind, udp}}).Validate(); err != nil {
		t.Error(err)
	}
}
