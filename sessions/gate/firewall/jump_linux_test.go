package firewall

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/nftables"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/access"
)

const ours = "inet " + Name

// rules replaces the rules of the chain "operator".
func (w *network) rules(rules ...string) {
	w.Helper()
	script := "flush chain " + ours + " operator\n"
	for _, r := range rules {
		script += "add rule " + ours + " operator " + r + "\n"
	}
	w.nft(script)
}

var counter = regexp.MustCompile(`counter packets (\d+)`)

// counted returns the number of packets that the chain's first counter has counted.
func (w *network) counted() int {
	w.Helper()
	m := counter.FindSubmatch(w.run(nil, "list", "chain", "inet", Name, "operator"))
	if m == nil {
		w.Fatal("no counter")
	}
	n, err := strconv.Atoi(string(m[1]))
	w.must(err)
	return n
}

// toHostOf returns this host's address of a client's family.
func toHostOf(client netip.Addr) netip.Addr {
	if client.Is6() {
		return host6
	}
	return host4
}

// TestJump: packets of admitted peers that begin a connection run once through the
// operator's chain, in whichever hooks the port is guarded. The chain may drop, and
// limit with the verdict accept; strangers never reach it.
func TestJump(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newNetwork(t)
	w.answering(nil, 2000)
	for _, protocol := range []Protocol{TCP, UDP} {
		for _, hook := range []Hook{HookPrerouting, HookForward, HookInput} {
			for i := range 4 {
				w.testJump(Port{Protocol: protocol, Port: 2000, Hook: hook, Cut: i&1 != 0, Reject: i&2 != 0, Jump: "operator"})
			}
		}
	}
}

func (w *network) testJump(p Port) {
	w.Helper()
	name := fmt.Sprintf("%s, hook %d, cut %v, reject %v", p.Protocol, p.Hook, p.Cut, p.Reject)
	w.nft("flush ruleset")
	w.forget()
	f := w.claim(Config{Ports: []Port{p}})
	in := func(client netip.Addr) bool { return w.reaches(p.Protocol, client, toHostOf(client), p.Port) }
	if in(client4) || in(stranger4) || in(client6) {
		w.Errorf("%s: open to all", name)
	}
	w.must(f.do(change(0, client4, time.Hour), changeOf(0, access.PeerOf(client6, access.PrefixHost), time.Hour)))
	if !in(client4) || !in(client6) || in(stranger4) {
		w.Errorf("%s: an empty chain is not as none", name)
	}
	w.rules("counter")
	const connections = 3
	for range connections {
		in(client4)
		in(client6)
		in(stranger4)
	}
	if n := w.counted(); n != 2*connections {
		w.Errorf("%s: the chain ran %d times for %d connections", name, n, 2*connections)
	}
	w.rules("meta nfproto ipv4 drop")
	if in(client4) || !in(client6) {
		w.Errorf("%s: drop does not drop, or too much", name)
	}
	w.rules("meta nfproto ipv6 reject")
	if !in(client4) || in(client6) {
		w.Errorf("%s: reject does not reject, or too much", name)
	}
	w.rules("limit rate 1/hour burst 2 packets accept", "drop")
	for i := range 4 {
		if in(client4) != (i < 2) {
			w.Errorf("%s: of two connections an hour, number %d passes or does not", name, i)
		}
	}
	w.rules("accept")
	if !in(client4) || in(stranger4) {
		w.Errorf("%s: accept does not accept, or accepts strangers", name)
	}
	w.must(f.revoke(0, client4))
	if in(client4) || !in(client6) {
		w.Errorf("%s: accept outlives the lease", name)
	}
	if r, err := f.Restore(); err != nil || r.Fault != "" || !r.Jumps.IsZero() {
		w.Errorf("%s: the operator's rules are a fault: %+v, %v", name, r, err)
	}
}

// TestJumpEstablished: the chain sees the first packet of a connection only, and a
// connection that it has accepted lives on as any other.
func TestJumpEstablished(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newNetwork(t)
	w.echo(2000)
	at := netip.AddrPortFrom(client4, 40000)
	for _, can := range []abilities{{labels: true, earlyReject: true}, {earlyReject: true}} {
		for _, verdict := range []string{"accept", "return"} {
			for _, cut := range []bool{false, true} {
				name := fmt.Sprintf("%s, cut %v, %+v", verdict, cut, can)
				w.nft("flush ruleset")
				w.forget()
				f, err := claim(withServices(Config{
					Ports:   []Port{{Protocol: TCP, Port: 2000, Cut: cut, Jump: "operator"}},
					Trusted: map[access.ServiceID]Trusted{serviceOf(0): trustedAddress(stranger4)},
				}), tester, false, now, can)
				w.must(err)
				// On a busy machine, packets of the connections before can still come.
				at = netip.AddrPortFrom(client4, at.Port()+1)
				w.rules(fmt.Sprintf("tcp sport %d counter %s", at.Port(), verdict))
				w.must(f.do(change(0, client4, time.Hour)))
				trusted, c := w.connect(stranger4, 2000), w.connectAt(at, 2000)
				if trusted == nil || c == nil || !w.alive(c) || !w.alive(trusted) {
					w.Fatalf("%s: no connection", name)
				}
				if n := w.counted(); can.labels && n != 1 {
					t.Errorf("%s: the chain ran %d times for one connection", name, n)
				}
				// A trusted peer gets a lease too.
				w.must(f.do(change(0, stranger4, time.Hour)))
				w.rules("drop")
				if !w.alive(c) || !w.alive(trusted) || w.open(client4, 2000) {
					t.Errorf("%s: the chain ends connections, or lets new ones in", name)
				}
				w.must(f.do(change(0, client4, 0), change(0, stranger4, 0)))
				if cut {
					before := w.counted0()
					c.Write([]byte("?"))
					if w.probe(); w.counted0() != before {
						t.Errorf("%s: packets without a lease reach the chain", name)
					}
				} else if !w.alive(c) {
					t.Errorf("%s: the connection ends with the lease", name)
				}
				// Nothing of these connections comes later.
				w.must(errors.Join(c.(*net.TCPConn).SetLinger(0), c.Close(), trusted.(*net.TCPConn).SetLinger(0), trusted.Close()))
				w.probe()
			}
		}
	}
}

// counted0 is counted with a counter at the start of the chain, which it adds.
func (w *network) counted0() int {
	w.Helper()
	if !counter.Match(w.run(nil, "list", "chain", "inet", Name, "operator")) {
		w.nft("insert rule " + ours + " operator counter")
	}
	return w.counted()
}

func trustedAddress(a netip.Addr) (t Trusted) {
	if err := t.add(a.String()); err != nil {
		panic(err)
	}
	return t
}

// TestJumpTranslated: the chain runs once also for packets that are translated.
func TestJumpTranslated(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newNetwork(t)
	w.answering(w.router(), 8080)
	w.answering(nil, 8083)
	nat := `table inet nat { chain prerouting { type nat hook prerouting priority dstnat
		ip daddr 198.51.100.0/24 tcp dport 8080 dnat ip to 172.17.0.2:8080
		ip6 daddr 2001:db8::1 tcp dport 8080 dnat ip6 to [2001:db8:17::2]:8080
		tcp dport 8082 redirect to :8083
	}
	}
	`
	for _, p := range []Port{
		{Port: 8080}, {Port: 8080, Address: host4}, {Port: 8080, Hook: HookForward}, {Port: 8080, Hook: HookForward, Address: host6},
		{Port: 8082}, {Port: 8083}, {Port: 8083, Hook: HookInput}, {Port: 8000, Last: 9000, Reject: true},
	} {
		for _, client := range []netip.Addr{client4, client6} {
			if p.Address.IsValid() && p.Address != toHostOf(client) {
				continue
			}
			p.Protocol, p.Jump = TCP, "operator"
			ask := max(p.Port, 8080)
			if p.Port == 8083 {
				ask = 8082
			}
			name := fmt.Sprintf("%+v, %s", p, client)
			w.nft("flush ruleset\n" + nat)
			w.forget()
			f := w.claim(Config{Ports: []Port{p}})
			w.rules("counter")
			w.must(f.grant(0, client, time.Hour))
			if !w.reached(TCP, client, toHostOf(client), ask) || w.counted() != 1 {
				t.Errorf("%s: the chain ran %d times", name, w.counted())
			}
			stranger := stranger4
			if client.Is6() {
				stranger = stranger6
			}
			if w.reaches(TCP, stranger, toHostOf(client), ask) {
				t.Errorf("%s: open to strangers", name)
			}
			w.rules("drop")
			if w.reaches(TCP, client, toHostOf(client), ask) {
				t.Errorf("%s: the chain does not drop", name)
			}
		}
	}
	// The packet of one guarded service becomes that of another: each has its chain.
	w.nft("flush ruleset\n" + nat)
	f := w.claim(Config{Ports: []Port{{Protocol: TCP, Port: 8082, Jump: "first"}, {Protocol: TCP, Port: 8083, Jump: "operator"}}})
	w.must(f.do(change(0, client4, time.Hour), change(1, client4, time.Hour)))
	w.rules("counter")
	if !w.reached(TCP, client4, host4, 8082) || w.counted() != 1 {
		t.Errorf("the second chain ran %d times", w.counted())
	}
	w.rules("drop")
	if w.reaches(TCP, client4, host4, 8082) {
		t.Error("the first chain stands for the second")
	}
}

// TestJumpDrawn: connections to a drawn port, which are redirected to the real one,
// run through the chain once.
func TestJumpDrawn(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newNetwork(t)
	w.answering(nil, 2000)
	for _, protocol := range []Protocol{TCP, UDP} {
		for _, cut := range []bool{false, true} {
			name := fmt.Sprintf("%s, cut %v", protocol, cut)
			w.nft("flush ruleset")
			w.forget()
			f := w.claim(Config{Ports: []Port{{
				Protocol: protocol, Port: 2000, Cut: cut, Jump: "operator", Drawn: []access.Ports{{First: 10000, Last: 20000}},
			}}})
			for _, client := range []netip.Addr{client4, client6} {
				peer := access.PeerOf(client, access.PrefixHost)
				peer.Port = 12345
				w.must(f.do(changeOf(0, peer, time.Hour)))
				w.rules("counter accept")
				in := func(port uint16) bool { return w.reaches(protocol, client, toHostOf(client), port) }
				if !in(12345) || w.counted() != 1 {
					t.Errorf("%s, %s: the chain ran %d times", name, client, w.counted())
				}
				if in(2000) || in(12346) || w.counted() != 1 {
					t.Errorf("%s, %s: open at another port", name, client)
				}
				w.rules("drop")
				if in(12345) {
					t.Errorf("%s, %s: the chain does not drop", name, client)
				}
			}
		}
	}
}

// TestJumpDrawnRefused: if the kernel refuses the jump, a port that rotates is closed,
// and opens when the operator has changed the rules.
func TestJumpDrawnRefused(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newNetwork(t)
	w.answering(nil, 2000)
	for _, protocol := range []Protocol{TCP, UDP} {
		for _, cut := range []bool{false, true} {
			name := fmt.Sprintf("%s, cut %v", protocol, cut)
			// No rule of the hook forward may ask for a socket.
			w.nft("flush ruleset\ntable inet sallyport { chain operator { socket transparent 1 drop; }; }")
			f := w.claim(Config{Ports: []Port{{
				Protocol: protocol, Port: 2000, Cut: cut, Jump: "operator", Drawn: []access.Ports{{First: 10000, Last: 20000}},
			}}})
			peer := access.PeerOf(client4, access.PrefixHost)
			peer.Port = 12345
			w.must(f.do(changeOf(0, peer, time.Hour)))
			in := func(port uint16) bool { return w.reaches(protocol, client4, host4, port) }
			for range 2 { // the second datagram of a flow too
				if j := f.Jumps(); in(12345) || in(2000) {
					t.Errorf("%s: open without the jump: %+v", name, j)
				}
			}
			w.rules("counter")
			if r, err := f.Restore(); err != nil || r.Err != nil || !r.Jumps.Joined {
				t.Errorf("%s: %+v, %v", name, r, err)
			}
			if !in(12345) || in(2000) || w.counted() != 1 {
				t.Errorf("%s: the chain ran %d times", name, w.counted())
			}
		}
	}
}

// TestJumpISN: with initial sequence numbers, only a SYN with the number of a grant
// reaches the chain.
func TestJumpISN(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newNetwork(t)
	w.echo(2000)
	f := w.claim(Config{Ports: []Port{{Protocol: TCP, Port: 2000, RequireISN: true, Jump: "operator"}}})
	const number = 0x01020304
	w.must(f.do(numberedChange(0, client4, number, time.Hour), numberedChange(0, client6, number, time.Hour)))
	w.rules("counter accept")
	for i, client := range []netip.Addr{client4, client6} {
		if in, _ := w.answersTo(client, 2000, flagSYN, number+1); in || w.counted() != i {
			t.Errorf("%s: another number gets in, or to the chain", client)
		}
		if in, _ := w.answersTo(client, 2000, flagSYN, number); !in || w.counted() != i+1 {
			t.Errorf("%s: in %v, %d", client, in, w.counted())
		}
	}
	w.rules("drop")
	if in, silent := w.answersTo(client4, 2000, flagSYN, number); in || !silent {
		t.Error("the chain does not drop")
	}
}

// TestJumpOpensNothing: whatever the operator writes into the chain, and beside it,
// opens nothing to strangers, and no other service to a client.
func TestJumpOpensNothing(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newNetwork(t)
	w.echo(2000)
	w.echo(2001)
	w.echo(2002)
	cfg := Config{Ports: []Port{
		{Protocol: TCP, Port: 2000, Jump: "operator"}, {Protocol: TCP, Port: 2001}, {Protocol: TCP, Port: 2002, Jump: "operator", Hook: HookInput},
	}}
	for _, script := range []string{
		"add rule {} operator accept",
		"add rule {} operator tcp dport { 1-65535 } accept",
		"add rule {} operator tcp dport vmap { 2000-2002 : accept }",
		"add rule {} operator jump { accept; }",
		"add rule {} operator goto tcp_2001", // of another service: its rules
		"add rule {} operator jump tcp_2001_trusted",
		"add rule {} operator ip saddr @tcp_2001_granted4 accept",
		"add chain {} own\nadd rule {} own accept\nadd rule {} operator goto own",
		"add map {} every { type inet_service : verdict; flags interval; elements = { 1-65535 : accept }; }\nadd rule {} operator tcp dport vmap @every",
		"add chain {} open { type filter hook input priority -500; policy accept; }\nadd rule {} open accept",
		"add chain {} open { type filter hook prerouting priority -500; }\nadd rule {} open goto operator",
		"insert rule {} guard goto operator\nadd rule {} operator accept",
		"insert rule {} input jump operator\nadd rule {} operator accept",
		"insert rule {} tcp_2001 jump operator\nadd rule {} operator accept",
	} {
		script = strings.ReplaceAll(script, "{}", ours)
		w.nft("flush ruleset")
		w.forget()
		f := w.claim(cfg)
		w.must(f.do(change(0, client4, time.Hour)))
		w.nft(script)
		if r, err := f.Restore(); err != nil || r.Err != nil {
			t.Errorf("%s: %+v, %v", script, r, err)
		}
		elsewhere := strings.HasSuffix(script, "goto tcp_2001") // whose chain refuses its packets
		for _, port := range []uint16{2000, 2001, 2002} {
			if w.open(stranger4, port) || w.open(client4, port) != (port == 2000 && !elsewhere) {
				t.Errorf("%s: port %d: stranger %v, client %v", script, port, w.open(stranger4, port), w.open(client4, port))
			}
		}
		// The table is restored, even if rules of the operator use its parts.
		w.nft("flush chain " + ours + " guard\nflush chain " + ours + " input\nflush chain " + ours + " tcp_2001")
		r, err := f.Restore()
		if err != nil || r.Err != nil || r.Fault == "" || r.Jumps.Refused != nil {
			t.Errorf("%s: restored: %+v, %v", script, r, err)
		}
		if w.open(stranger4, 2000) || w.open(stranger4, 2001) || !w.open(client4, 2000) {
			t.Errorf("%s: after a repair: open to strangers, or closed to clients", script)
		}
		lost := strings.Contains(script, "tcp_2001") && !strings.Contains(script, "insert")
		if lost != (len(r.Jumps.Lost) > 0) {
			t.Errorf("%s: lost are the rules of %q", script, r.Jumps.Lost)
		}
	}
	// The kernel refuses these.
	for _, script := range []string{
		"add rule {} operator jump tcp_2000", "add rule {} operator goto tcp_2000_granted", "add rule {} operator jump operator",
		"delete chain {} operator", "add chain {} operator { type filter hook input priority 0; }",
		"add rule {} operator redirect to :2001", "add rule {} operator dnat ip to 198.51.100.9",
	} {
		w.nft("flush ruleset")
		w.claim(cfg)
		if err := w.try(strings.ReplaceAll(script, "{}", ours)); err == nil {
			t.Errorf("%s: the kernel accepts it", script)
		}
	}
}

// TestJumpKept: the operator's rules, and all that they use, stay byte by byte
// whenever the table is replaced around them. If another program removes them, the
// table reports it once.
func TestJumpKept(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newNetwork(t)
	w.echo(2000)
	cfg := Config{Ports: []Port{{Protocol: TCP, Port: 2000, Jump: "operator"}, {Protocol: UDP, Port: 2000, Jump: "other"}}}
	f := w.claim(cfg)
	if j := f.Jumps(); !j.IsZero() {
		t.Errorf("a first claim reports %+v", j)
	}
	const rules = `table inet sallyport {
		set banned { type ipv4_addr; flags interval; elements = { 192.0.2.0/24, 203.0.113.7 }; }
		set perhost { type ipv4_addr; size 100; flags dynamic, timeout; timeout 1h; }
		counter seen { }
		quota much { over 10000 mbytes }
		chain operator { comment "of the operator"
			counter name "seen"
			ip saddr @banned drop
			ip saddr { 192.0.2.1, 192.0.2.77 } reject with tcp reset
			update @perhost { ip saddr limit rate over 1000/second } drop
			jump deeper
		}
		chain deeper { quota name "much" drop; tcp dport vmap { 1-99 : drop, 100-65535 : return }; meta mark set 7; ct mark set 7; log prefix "x "
		}
	}`
	w.nft(rules)
	w.must(f.grant(0, client4, time.Hour))
	if !w.open(client4, 2000) {
		t.Fatal("closed to a client")
	}
	listed := func() (all string) {
		for _, of := range [][]string{
			{"chain", "inet", Name, "operator"}, {"chain", "inet", Name, "deeper"}, {"set", "inet", Name, "banned"},
			{"counter", "inet", Name, "seen"}, {"quota", "inet", Name, "much"},
		} {
			all += string(w.run(nil, append([]string{"-a", "list"}, of...)...))
		}
		all += string(expiry.ReplaceAll(w.run(nil, "list", "set", "inet", Name, "perhost"), nil))
		return all
	}
	before := listed()
	silence := f.cfg.Silence()
	silence.Stealth = true
	for _, row := range []struct {
		name  string
		event func() error
	}{
		{"a reload of stealth", func() error { return f.SetSilence(silence) }},
		{"a reload of trusted peers", func() error {
			return f.SetTrusted(map[access.ServiceID]Trusted{serviceOf(0): trustedAddress(stranger6)})
		}},
		{"a restart", func() (err error) { f, err = Claim(withServices(cfg), tester, false, now); return err }},
		{"a restart with other services", func() (err error) {
			f, err = Claim(withServices(Config{Ports: []Port{{Protocol: TCP, Port: 2003}, {Protocol: TCP, Port: 2000, Hook: HookForward, Jump: "operator"}}}), tester, false, now)
			return err
		}},
		{"back", func() (err error) { f, err = Claim(withServices(cfg), tester, false, now); return err }},
		{"the table is changed", func() error {
			w.nft("flush chain " + ours + " input\ninsert rule " + ours + " guard accept")
			return nil
		}},
		{"a base chain beside it", func() error {
			w.nft("add chain " + ours + " open { type filter hook input priority -500; }\nadd rule " + ours + " open goto operator")
			return nil
		}},
		{"another policy", func() error { w.nft("add chain " + ours + " input { policy drop; }"); return nil }},
		{"another element", func() error { w.nft("add element " + ours + " tcp_2000_granted4 { 198.51.100.3 }"); return nil }},
		{"dormant", func() error { w.nft("add table " + ours + " { flags dormant; }"); return nil }},
		{"the end", func() error { return f.Close() }},
	} {
		w.must(row.event())
		for range 2 {
			r, err := f.Restore()
			w.must(err)
			w.must(r.Err)
			if !r.Jumps.IsZero() {
				t.Errorf("%s: %+v", row.name, r.Jumps)
			}
		}
		if after := listed(); after != before {
			t.Fatalf("%s: before\n%s\nafter\n%s", row.name, before, after)
		}
		if j := f.Jumps(); !j.IsZero() {
			t.Errorf("%s: %+v", row.name, j)
		}
		if w.open(stranger4, 2000) {
			t.Errorf("%s: open to strangers", row.name)
		}
		w.must(f.grant(0, client4, time.Hour))
		w.must(f.revoke(0, client4))
	}
	found, err := Inspect()
	if err != nil || !found.Intact || fmt.Sprint(found.Chains) != "[{deeper 5 false} {operator 5 false} {other 0 false}]" {
		t.Errorf("%+v, %v", found, err)
	}

	lost := func(want string, scripts ...string) {
		t.Helper()
		for _, script := range scripts {
			w.nft(script)
			r, err := f.Restore()
			if err != nil || r.Err != nil || fmt.Sprint(r.Jumps.Lost) != want {
				t.Errorf("%s: %+v, %v", script, r, err)
			}
			w.run(nil, "list", "chain", "inet", Name, "operator")
			if r, err = f.Restore(); err != nil || r.Fault != "" || !r.Jumps.IsZero() {
				t.Errorf("%s: later %+v, %v", script, r, err)
			}
			w.nft("flush table inet sallyport\nflush ruleset\n" + rules)
			w.must(f.grant(0, client4, MinTime))
			f.Restore()
		}
	}
	lost("[]", "flush ruleset\n"+rules, "delete table "+ours+"\n"+rules, "add rule "+ours+" operator counter", "flush chain "+ours+" operator")
	lost("[deeper operator]", "flush ruleset", "delete table "+ours, "flush table "+ours)

	// Without the key, the chains are no longer the operator's.
	f, err = Claim(withServices(Config{Ports: []Port{{Protocol: TCP, Port: 2000}}}), tester, false, now)
	w.must(err)
	if j := f.Jumps(); fmt.Sprint(j.Lost) != "[deeper operator]" {
		t.Errorf("%+v", j)
	}
}

// TestJumpPrepared: a table with nothing but the operator's chains, as a file of
// nft makes it before the holder starts, is no other program's, if a service jumps.
func TestJumpPrepared(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newNetwork(t)
	w.echo(2000)
	jumps, none := []Port{{Protocol: TCP, Port: 2000, Jump: "operator"}}, []Port{{Protocol: TCP, Port: 2000}}
	const chain = "flush ruleset\ntable inet sallyport { comment \"mine\"\nset s { type ipv4_addr; }; chain operator { drop; }; }"
	w.nft(chain)
	if found, err := Inspect(); err != nil || found.Kind != Prepared {
		t.Errorf("%+v, %v", found, err)
	}
	if err := claimFor(tester, none, false); err == nil {
		t.Error("claimed although no service jumps")
	}
	f := w.claim(Config{Ports: jumps})
	w.must(f.grant(0, client4, time.Hour))
	if j := f.Jumps(); !j.IsZero() || w.open(client4, 2000) {
		t.Errorf("%+v, open %v", j, w.open(client4, 2000))
	}
	w.rules()
	if !w.open(client4, 2000) || w.open(stranger4, 2000) {
		t.Error("closed to clients, or open to strangers")
	}
	for _, script := range []string{
		"table inet sallyport { chain operator { type filter hook input priority 0; }; }",
		"table inet sallyport { chain tcp_2000 { accept; }; }",
		"table inet sallyport { set tcp_2000_granted4 { type ipv4_addr; }; chain operator { }; }",
	} {
		w.nft("flush ruleset\n" + script)
		if found, err := Inspect(); err != nil || found.Kind != Foreign {
			t.Errorf("%s: %+v, %v", script, found, err)
		}
		if err := claimFor(tester, jumps, false); err == nil {
			t.Errorf("%s: claimed without force", script)
		}
		// A base chain of that name goes; the jump needs a chain without a hook.
		w.must(claimFor(tester, jumps, true))
		if found, err := Inspect(); err != nil || !found.Intact {
			t.Errorf("%s: %+v, %v", script, found, err)
		}
		if w.open(stranger4, 2000) {
			t.Errorf("%s: open to strangers", script)
		}
	}
}

// TestJumpRefused: if the kernel refuses the jump, the service is closed, also to
// clients, and the table reports it. It opens as soon as the operator has changed the rules.
func TestJumpRefused(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newNetwork(t)
	w.echo(2000)
	w.echo(2001)
	// No rule of the hook forward may ask for a socket.
	const chain = "table inet sallyport { chain operator { socket transparent 1 drop; }; }"
	cfg := Config{Ports: []Port{{Protocol: TCP, Port: 2000, Jump: "operator", Address: host4}, {Protocol: TCP, Port: 2001, Reject: true}}}
	w.nft(chain)
	f := w.claim(cfg)
	closed := func(of string, j Jumps) {
		t.Helper()
		w.must(f.do(change(0, client4, time.Hour), change(1, client4, time.Hour)))
		if j.Refused == nil || len(j.Lost) > 0 {
			t.Errorf("%s: %+v", of, j)
		}
		text := fmt.Sprint(j.Refused)
		if strings.Contains(text, "\n") || strings.Contains(text, "nf_tables") || !strings.HasSuffix(text, "operation not supported") {
			t.Errorf("%s: expected the error of the rule alone, got %s", of, text)
		}
		if w.open(client4, 2000) || w.open(stranger4, 2000) || !w.open(client4, 2001) || w.open(stranger4, 2001) {
			t.Errorf("%s: open without the jump, or another service is closed", of)
		}
		if found, err := Inspect(); err != nil || !found.Intact || found.Refused == "" {
			t.Errorf("%s: %+v, %v", of, found, err)
		}
		if f.can != (abilities{labels: true, earlyReject: true}) {
			t.Errorf("%s: a rule of the operator makes the kernel appear older: %+v", of, f.can)
		}
	}
	joined := func(of string) {
		t.Helper()
		r, err := f.Restore()
		if err != nil || r.Err != nil || !r.Jumps.Joined {
			t.Errorf("%s: %+v, %v", of, r, err)
		}
		if !w.open(client4, 2000) || w.open(stranger4, 2000) || !w.open(client4, 2001) {
			t.Errorf("%s: closed", of)
		}
	}
	closed("claim", f.Jumps())
	if r, err := f.Restore(); err != nil || r.Fault != "" || !r.Jumps.IsZero() {
		t.Errorf("again: %+v, %v", r, err)
	}
	w.nft("add rule " + ours + " operator counter") // another change, and as wrong
	r, err := f.Restore()
	w.must(err)
	closed("a change", r.Jumps)
	w.rules("counter")
	joined("a change for the better")
	w.nft("flush ruleset\n" + chain)
	r, err = f.Restore()
	if err != nil || r.Err != nil || r.Fault != Replaced {
		t.Errorf("%+v, %v", r, err)
	}
	closed("a file is loaded", r.Jumps)
	w.nft("delete table " + ours)
	r, err = f.Restore()
	w.must(err)
	if fmt.Sprint(r.Jumps.Lost) != "[operator]" || !r.Jumps.Joined {
		t.Errorf("%+v", r)
	}
	if !w.open(client4, 2000) || w.open(stranger4, 2000) {
		t.Error("closed after the chain was made again")
	}
	// At hook input, the rule is one that the kernel accepts.
	cfg.Ports[0].Hook = HookInput
	w.nft("flush ruleset\n" + chain)
	f = w.claim(cfg)
	w.must(f.do(change(0, client4, time.Hour)))
	if j := f.Jumps(); !j.IsZero() || !w.open(client4, 2000) {
		t.Errorf("%+v", j)
	}
}

// TestReservedNames: all chains and sets of the table have names that no chain of
// the operator can have.
func TestReservedNames(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newNetwork(t)
	n := 0
	for name, cfg := range forms() {
		if n++; n > 20 { // others each time
			break
		}
		w.claim(cfg)
		c, err := read()
		w.must(err)
		for chain := range c.unreserved() {
			if chain != "operator" {
				t.Errorf("%s: the chain %s is not reserved", name, chain)
			}
		}
		for _, s := range c.sets {
			if name := s.text(attributeName); !reserved(name) {
				t.Errorf("the set %s is not reserved", name)
			}
		}
		w.must(Clear())
	}
	if !reserved(probeSet) {
		t.Error("the trial set is not reserved")
	}
	// All other names are such that nft can read.
	for _, name := range []string{"operator", "A", "a-b_c9", strings.Repeat("x", MaxJump)} {
		w.must(ValidateJump(name))
		w.nft("flush ruleset\ntable inet sallyport { chain " + name + " { }; }")
	}
	for name := range strings.FieldsSeq(keywords) {
		if err := ValidateJump(name); err == nil {
			t.Errorf("%s is valid", name)
		}
	}
}

// TestJumpAmongChanges: while other programs keep changing rules, the table may not be
// made, but the operator's rules are not lost.
func TestJumpAmongChanges(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newNetwork(t)
	f := w.claim(Config{Ports: []Port{{Protocol: TCP, Port: 2000, Jump: "operator"}}})
	w.rules("counter", "drop")
	w.must(restored(f))
	done := make(chan struct{})
	var all sync.WaitGroup
	for i := range 3 {
		all.Go(func() {
			other := &nftables.Table{Name: fmt.Sprint("other", i), Family: nftables.TableFamilyINet}
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				batch, err := newBatch()
				if err != nil {
					t.Error(err)
					return
				}
				c := &nftables.Chain{Table: batch.AddTable(other), Name: "c"}
				if batch.AddChain(c); n%2 == 1 {
					batch.DelChain(c)
				}
				batch.Flush()
			}
		})
	}
	silence, disturbed := f.cfg.Silence(), 0
	for range 4 {
		silence.Stealth = !silence.Stealth
		if f.SetSilence(silence) != nil {
			disturbed++
		}
	}
	close(done)
	all.Wait()
	w.must(restored(f))
	if text := string(w.run(nil, "list", "chain", "inet", Name, "operator")); !strings.Contains(text, "drop") {
		t.Errorf("after %d disturbed changes the rules are gone:\n%s", disturbed, text)
	}
	t.Logf("%d changes were disturbed", disturbed)
}

// restored restores a table. It returns an error if rules of the operator are gone.
func restored(f *Table) error {
	r, err := f.Restore()
	if len(r.Jumps.Lost) > 0 || r.Jumps.Refused != nil {
		err = errors.Join(err, fmt.Errorf("%+v", r.Jumps))
	}
	return errors.Join(err, r.Err)
}
