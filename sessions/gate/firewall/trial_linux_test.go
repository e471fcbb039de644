package firewall

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/nftables"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/access"
)

// inAnHour is a trial of the service at a place that no test outlasts.
func inAnHour(places ...int) Trial { return endingIn(time.Hour, places...) }

func endingIn(d time.Duration, places ...int) Trial {
	t := Trial{}
	for _, place := range places {
		t[serviceOf(place)] = time.Now().Add(d)
	}
	return t
}

// opens waits until a port accepts a SYN of a stranger.
func (w *network) opens(from netip.Addr, port uint16) {
	w.Helper()
	for end := netns.Deadline(w); !w.open(from, port); time.Sleep(10 * time.Millisecond) {
		if !end.IsZero() && time.Now().After(end) {
			w.Fatalf("port %d stays closed to %s", port, from)
		}
	}
}

func (w *network) entered(f *Table, want ...access.ServiceID) {
	w.Helper()
	if got, err := f.Entered(); err != nil || !slices.Equal(got, want) {
		w.Errorf("connections by a grant to %v, want %v: %v", got, want, err)
	}
}

// TestTrial: services on trial are closed, except to grants and to earlier connections.
// Only a connection that began by a grant since Claim counts as one. The kernel opens the
// port when the time is over, without this process, and nothing else. A confirmed table
// is one that was never on trial.
func TestTrial(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	const ssh, web = 22, 80
	w.echo(ssh)
	w.echo(web)
	strangers := []netip.Addr{stranger4, client4, stranger6, client6}
	closed := func(what string, port uint16) {
		t.Helper()
		for _, a := range strangers {
			if w.open(a, port) {
				t.Errorf("%s: port %d is open to %s", what, port, a)
			}
		}
	}
	w.nft(tracking)
	earlier, clientsEarlier, earlier6 := w.connect(stranger4, ssh), w.connect(client4, ssh), w.connect(stranger6, ssh)
	cfg := Config{Ports: []Port{{Protocol: TCP, Port: ssh}, {Protocol: TCP, Port: web}}, Trial: inAnHour(0)}
	f := w.claim(cfg)
	closed("on trial", ssh)
	closed("not on trial", web)
	w.must(f.grant(0, client4, time.Hour))
	if !w.alive(earlier) || !w.alive(earlier6) || !w.alive(clientsEarlier) {
		t.Fatal("an earlier connection has ended")
	}
	w.entered(f) // none began by the grant
	w.must(f.grant(1, client4, time.Hour))
	if c := w.connect(client4, web); c == nil {
		t.Fatal("no connection to the other service")
	}
	w.entered(f, serviceOf(1))
	in := w.connect(client4, ssh)
	if in == nil {
		t.Fatal("a grant does not let in")
	}
	if got, err := f.Entered(); err != nil || len(got) != 2 {
		t.Errorf("%v, %v", got, err)
	}

	// A restart: the connections no longer prove anything, and continue.
	f = w.claim(cfg)
	w.entered(f)
	closed("after a restart", ssh)
	if !w.alive(earlier) || !w.alive(in) {
		t.Fatal("a connection has not outlived a restart")
	}
	w.must(f.grant(0, client4, time.Hour))
	w.must(f.flush()) // the transaction of Close, which looks at the table afterwards
	closed("without grants", ssh)
	w.must(f.Close())
	closed("after the end of the server", ssh)

	// Another program removes an element, or the table.
	w.nft("flush set inet sallyport tcp_22_trial")
	if r, err := f.Restore(); err != nil || r.Fault != Elements {
		t.Errorf("%+v, %v", r, err)
	}
	closed("restored elements", ssh)
	w.nft("delete table inet sallyport")
	if r, err := f.Restore(); err != nil || r.Fault != Removed {
		t.Errorf("%+v, %v", r, err)
	}
	closed("restored table", ssh)

	// Confirmed.
	w.must(f.grant(0, client4, time.Hour))
	w.must(f.SetTrial(nil))
	w.must(f.revoke(0, client4))
	closed("confirmed", ssh)
	if !w.alive(in) {
		t.Error("the connection that began by a grant has ended")
	}
	w.cutOff(earlier)
	confirmed := f.digest
	if plain := w.claim(Config{Ports: cfg.Ports}); plain.digest != confirmed {
		t.Error("a confirmed table differs from one that was never on trial")
	}
	if r, err := f.Restore(); err == nil && r.Fault != "" {
		t.Errorf("%+v", r)
	}

	// Over: nothing but the kernel opens the port.
	cfg.Trial = endingIn(50*time.Millisecond, 0)
	f = w.claim(cfg)
	for _, a := range strangers {
		w.opens(a, ssh)
	}
	closed("not on trial", web)
	if r, err := f.Restore(); err != nil || r.Fault != "" {
		t.Errorf("the table is not intact after the trial: %+v, %v", r, err)
	}
	w.must(f.grant(0, client4, time.Hour))
	w.must(f.Close())
	if !w.open(stranger4, ssh) {
		t.Error("closed again")
	}
	stranger := w.connect(stranger4, ssh)
	f = w.claim(cfg)
	if f.Strangers() != 0 || !w.alive(stranger) {
		t.Error("Claim ended a connection to an open port")
	}
	w.must(f.SetTrial(nil))
	closed("hidden at last", ssh)
	w.cutOff(stranger)
}

// cutOff verifies that nothing further of a connection comes in.
func (w *network) cutOff(c net.Conn) {
	w.Helper()
	w.must(c.SetDeadline(time.Now().Add(50 * time.Millisecond)))
	c.Write([]byte("?"))
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		w.Error("a stranger's connection continues")
	}
}

// TestTrialForms: for all kinds of ports, packets of strangers are refused on trial, and
// pass when it is over, at each hook.
func TestTrialForms(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	const port = 2000
	w.echo(port)
	ports := map[string]Port{
		"number":   {Protocol: TCP, Port: port, RequireISN: true},
		"rotating": {Protocol: TCP, Port: port, Drawn: drawnRange},
		"jump":     {Protocol: TCP, Port: port, Jump: "operator"},
		"range":    {Protocol: TCP, Port: port - 1, Last: port + 1, More: []At{{host4, access.Ports{First: 443, Last: 445}}}},
	}
	for _, hook := range []Hook{HookPrerouting, HookForward, HookInput} {
		for _, reject := range []bool{false, true} {
			ports[fmt.Sprintf("hook %d, reject %t", hook, reject)] = Port{Protocol: TCP, Port: port, Hook: hook, Reject: reject, Cut: reject}
		}
	}
	for name, p := range ports {
		w.nft("flush ruleset")
		f := w.claim(Config{Ports: []Port{p}, Trial: inAnHour(0)})
		if w.open(stranger4, port) || w.open(stranger6, port) {
			t.Errorf("%s: open on trial", name)
		}
		w.must(f.SetTrial(endingIn(-time.Second, 0)))
		if !w.open(stranger4, port) || !w.open(stranger6, port) {
			t.Errorf("%s: closed after the trial", name)
		}
		if r, err := f.Restore(); err != nil || r.Fault != "" {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		w.must(f.SetTrial(nil))
		if w.open(stranger4, port) || w.open(stranger6, port) {
			t.Errorf("%s: open when confirmed", name)
		}
	}
}

// TestTrialCut: where connections end with their leases, those that a grant let in do so
// on trial, too, and earlier ones continue.
func TestTrialCut(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	w.echo(22)
	w.nft(tracking)
	earlier := w.connect(client4, 22)
	f := w.claim(Config{Ports: []Port{{Protocol: TCP, Port: 22, Cut: true}}, Trial: inAnHour(0)})
	w.must(f.grant(0, client4, time.Hour))
	in := w.connect(client4, 22)
	if in == nil || !w.alive(in) || !w.alive(earlier) {
		t.Fatal("a connection does not live")
	}
	w.entered(f, serviceOf(0))
	w.must(f.revoke(0, client4))
	w.cutOff(in)
	if !w.alive(earlier) {
		t.Error("the earlier connection has ended")
	}
}

// TestTrialFromTheMiddle: a connection from before the trial, which conntrack tracks again
// from its middle, and which a grant lets in then, did not begin by the grant.
func TestTrialFromTheMiddle(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	w.write("/proc/sys/net/netfilter/nf_conntrack_tcp_loose", "1")
	w.echo(22)
	earlier := w.connect(client4, 22)
	f := w.claim(Config{Ports: []Port{{Protocol: TCP, Port: 22}}, Trial: inAnHour(0)})
	w.must(f.grant(0, client4, time.Hour))
	w.forget()
	if !w.alive(earlier) {
		t.Fatal("the grant does not let it in")
	}
	w.entered(f)
}

// TestTrialUDP: a hidden UDP port, and ports that stealth hides, by themselves.
func TestTrialUDP(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	const guarded, other = 2000, 3002
	receives := func(port uint16, want bool) {
		t.Helper()
		for _, ends := range [][2]netip.Addr{{stranger4, host4}, {client6, host6}} {
			here, err := net.ListenUDP("udp", &net.UDPAddr{Port: int(port)})
			w.must(err)
			w.send(datagram(ends[0], ends[1], 1000, port, []byte("x")))
			w.probe() // it has arrived, or was dropped
			w.must(here.SetReadDeadline(time.Now().Add(20 * time.Millisecond)))
			_, _, err = here.ReadFromUDPAddrPort(make([]byte, 16))
			here.Close()
			if (err == nil) != want {
				t.Errorf("port %d receives a datagram of %s: %t", port, ends[0], err == nil)
			}
		}
	}
	cfg := Config{Stealth: true, Ports: []Port{{Protocol: UDP, Port: guarded}}}
	for _, row := range []struct {
		service, stealth time.Duration // 0: not on trial
		guarded, other   bool          // open
	}{
		{0, 0, false, false}, {time.Hour, time.Hour, false, false},
		{-1, time.Hour, true, false}, {time.Hour, -1, false, true}, {0, -1, false, true}, {-1, 0, true, false},
	} {
		cfg.Trial = Trial{}
		if row.service != 0 {
			cfg.Trial = endingIn(row.service, 0)
		}
		if row.stealth != 0 {
			cfg.Trial[StealthTrial] = time.Now().Add(row.stealth)
		}
		f := w.claim(cfg)
		receives(guarded, row.guarded)
		receives(other, row.other)
		if r, err := f.Restore(); err != nil || r.Fault != "" {
			t.Errorf("%+v: %+v, %v", row, r, err)
		}
	}
}

// TestTrialTranslated: ports that DNAT publishes, or that redirect leads elsewhere, are shut
// on trial, open to grants, and open to anyone when it is over. A connection by a grant
// counts, also over UDP.
func TestTrialTranslated(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	container := w.router()
	w.nft(`
		table inet nat {
			chain prerouting {
				type nat hook prerouting priority dstnat
				fib daddr type local meta l4proto { tcp, udp } th dport 8080 dnat ip to 172.17.0.2:80
				fib daddr type local meta l4proto { tcp, udp } th dport 8080 dnat ip6 to [2001:db8:17::2]:80
				meta l4proto { tcp, udp } th dport 8082 redirect to :8083
			}
		}
`)
	w.answering(container, 80)
	w.answering(nil, 8083)
	for _, protocol := range []Protocol{TCP, UDP} {
		for _, port := range []uint16{8080, 8082} {
			for _, ends := range [][3]netip.Addr{{client4, stranger4, host4}, {client6, stranger6, host6}} {
				client, stranger, to := ends[0], ends[1], ends[2]
				name := fmt.Sprintf("%s port %d of %s", protocol, port, to)
				w.forget()
				f := w.claim(Config{Ports: []Port{{Protocol: protocol, Port: port}}, Trial: inAnHour(0)})
				if w.reaches(protocol, stranger, to, port) || w.reaches(protocol, client, to, port) {
					t.Errorf("%s: open on trial", name)
				}
				w.entered(f)
				w.must(f.grant(0, client, time.Hour))
				if !w.reached(protocol, client, to, port) || w.reaches(protocol, stranger, to, port) {
					t.Errorf("%s: closed to the grant, or open to a stranger", name)
				}
				if protocol == UDP {
					w.entered(f, serviceOf(0))
				} else {
					w.entered(f) // nothing has answered the answer to the SYN
				}
				w.must(f.SetTrial(endingIn(-1, 0)))
				if !w.reached(protocol, stranger, to, port) {
					t.Errorf("%s: closed after the trial", name)
				}
				w.must(f.SetTrial(nil))
				w.forget()
				if w.reaches(protocol, stranger, to, port) {
					t.Errorf("%s: open when confirmed", name)
				}
			}
		}
	}
}

// TestTrialOfOneService: each service has a separate time.
func TestTrialOfOneService(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	w.echo(22)
	w.echo(80)
	on := inAnHour(0)
	on[serviceOf(1)] = time.Now().Add(50 * time.Millisecond)
	f := w.claim(Config{Ports: []Port{{Protocol: TCP, Port: 22}, {Protocol: TCP, Port: 80}}, Trial: on})
	w.opens(stranger4, 80)
	if w.open(stranger4, 22) {
		t.Error("the other service is open")
	}
	w.must(f.SetTrial(Trial{serviceOf(1): on[serviceOf(1)]}))
	if w.open(stranger4, 22) || !w.open(stranger4, 80) {
		t.Error("the confirmed service is open, or the other one closed")
	}
}

// TestHides: which ports a table hides for good.
func TestHides(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	w.claim(Config{Stealth: true, Trial: inAnHour(1), Ports: []Port{
		{Protocol: TCP, Port: 22}, {Protocol: TCP, Port: 80}, {Protocol: TCP, Port: 100, Last: 200}, {Protocol: UDP, Port: 53, More: []At{{Ports: access.Ports{First: 60, Last: 60}}}},
	}})
	s, err := Inspect()
	w.must(err)
	for _, row := range []struct {
		port      Port
		hides     bool
		ambiguous bool
	}{
		{Port{Protocol: TCP, Port: 22}, true, false},
		{Port{Protocol: TCP, Port: 80}, false, false}, // on trial
		{Port{Protocol: UDP, Port: 22}, false, true},  // the ranges of the chain udp_53_etc are not in its name
		{Port{Protocol: TCP, Port: 23}, false, false},
		{Port{Protocol: TCP, Port: 100, Last: 200}, true, false},
		{Port{Protocol: TCP, Port: 150}, false, true},
		{Port{Protocol: TCP, Port: 22, More: []At{{Ports: access.Ports{First: 443, Last: 443}}}}, false, true},
		{Port{Protocol: TCP, Port: 443, More: []At{{Ports: access.Ports{First: 22, Last: 22}}}}, false, true},
	} {
		hides, err := s.Hides(row.port)
		var ambiguous *AmbiguousError
		if hides != row.hides || errors.As(err, &ambiguous) != row.ambiguous {
			t.Errorf("%s: %t, %v", row.port.text(), hides, err)
		}
	}
	if !s.HidesStealth() {
		t.Error("stealth is in force")
	}
	w.claim(Config{Stealth: true, Trial: Trial{StealthTrial: time.Now().Add(time.Hour)}})
	if s, err = Inspect(); err != nil || s.HidesStealth() {
		t.Errorf("stealth is on trial: %v", err)
	}
}

func TestTrialOfNoPort(t *testing.T) {
	for _, cfg := range []Config{
		{Trial: inAnHour(0)},
		{Trial: inAnHour(0), Ports: []Port{{Service: serviceOf(0), Protocol: TCP, Port: 22, Listener: 1022}}},
		{Trial: inAnHour(0), Ports: []Port{{Service: serviceOf(0), Protocol: TCP, Drawn: drawnRange}}},
	} {
		if cfg.Validate() == nil {
			t.Errorf("accepted: %+v", cfg)
		}
	}
}

// TestTrialWithoutLabels: on a kernel without labels of connections nothing is hidden, not
// even in part, and the error names the reason.
func TestTrialWithoutLabels(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	w.echo(22)
	cfg := withServices(Config{Stealth: true, Ports: []Port{{Protocol: TCP, Port: 22}}, Trial: inAnHour(0)})
	for _, can := range []abilities{{earlyReject: true}, {}} {
		if _, err := claim(cfg, tester, false, now, can); !errors.Is(err, ErrTrialLabels) {
			t.Errorf("%+v: %v", can, err)
		}
		if s, err := Inspect(); err != nil || s.Kind != Absent {
			t.Errorf("%+v: the table is %s, %v", can, s.Kind, err)
		}
		if !w.open(stranger4, 22) {
			t.Errorf("%+v: the port is closed", can)
		}
	}
}

// TestTrialProof: a connection proves nothing if a trusted peer made it, or if it began on
// this host.
func TestTrialProof(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	w.echo(22)
	trusted, err := ParseTrusted([]string{client4.String()})
	if err != nil {
		t.Fatal(err)
	}
	f := w.claim(Config{Ports: []Port{{Protocol: TCP, Port: 22}}, Trial: inAnHour(0), Trusted: map[access.ServiceID]Trusted{serviceOf(0): trusted}})
	if c := w.connect(client4, 22); c == nil {
		t.Fatal("a trusted peer does not get in")
	}
	own, err := net.Dial("tcp", "127.0.0.1:22")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	w.entered(f)
	w.must(f.grant(0, stranger4, time.Hour))
	if c := w.connect(stranger4, 22); c == nil {
		t.Fatal("a grant does not let in")
	}
	w.entered(f, serviceOf(0))
}

// TestTrialDrift: by the kernel's ticks, elements of a long trial may end some seconds
// earlier or later than by the clock of this process. That is no change of another
// program. Anything else is.
func TestTrialDrift(t *testing.T) {
	elements := func(n int, timeout, expires time.Duration) (all []nftables.SetElement) {
		for range n {
			all = append(all, nftables.SetElement{Timeout: timeout, Expires: expires})
		}
		return all
	}
	const day = 24 * time.Hour
	for name, row := range map[string]struct {
		left, given time.Duration
		elements    []nftables.SetElement
		intact      bool
	}{
		"a short trial":                     {time.Minute, time.Minute, elements(2, time.Minute, time.Minute-time.Second), true},
		"a short trial that is longer":      {time.Minute, 2 * time.Minute, elements(2, 2*time.Minute, time.Minute+4*time.Second), false},
		"a day, 40 seconds slower":          {time.Hour, day, elements(2, day, time.Hour+40*time.Second), true},
		"a day, 40 seconds faster":          {time.Hour, day, elements(2, day, time.Hour-40*time.Second), true},
		"a day, two minutes":                {time.Hour, day, elements(2, day, time.Hour+2*time.Minute), false},
		"a day, over 40 seconds earlier":    {40 * time.Second, day, nil, true},
		"a day, over two minutes earlier":   {2 * time.Minute, day, nil, false},
		"one element":                       {time.Hour, day, elements(1, day, time.Hour), false},
		"an element without an end":         {time.Hour, day, elements(2, 0, 0), false},
		"over, and the element still there": {-time.Second, time.Minute, elements(2, time.Minute, 0), true},
	} {
		if got := trialIntact(row.left, row.given, row.elements); got != row.intact {
			t.Errorf("%s: %t", name, got)
		}
	}
}
