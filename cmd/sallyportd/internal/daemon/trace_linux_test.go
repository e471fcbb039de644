package daemon

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/sessions"
	"sallyport/sessions/client"
	"sallyport/sessions/gate"
	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// tracedWorld is a world in which one client is traced.
type tracedWorld struct {
	*world
	lines <-chan admin.TraceLine
	seen  []admin.TraceLine
	macs  [][]byte // of the datagrams that packets made
	stop  func()
}

func (w *tracedWorld) trace(t *testing.T, identifier string) admin.TraceLine {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	lines, err := w.server.Trace(ctx, admin.Trace{Identifier: identifier, Seconds: 600})
	if err != nil {
		t.Fatal(err)
	}
	w.lines, w.stop = lines, cancel
	return <-lines
}

// end ends the trace, as when its reader goes away.
func (w *tracedWorld) end() {
	w.stop()
	for l := range w.lines {
		w.seen = append(w.seen, l)
	}
}

// next returns the next line of an event and a reason. Lines of others may come before it.
func (w *tracedWorld) next(t *testing.T, event, reason string) admin.TraceLine {
	t.Helper()
	for {
		select {
		case l := <-w.lines:
			w.seen = append(w.seen, l)
			if l.Event == event && l.Reason == reason {
				return l
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("no line %s %s; saw %+v", event, reason, w.seen)
		}
	}
}

// packets returns a client's datagrams that are changed and then signed with a secret,
// and the ports of the client's clock.
func (w *tracedWorld) packets(t *testing.T, id, secret string, off time.Duration, base uint32, change func(*wire.Knock)) (list []client.Packet) {
	t.Helper()
	at := w.clock.Now().Add(off)
	ports, err := schedule.Ports(schedule.Algorithm1, "the port secret", schedule.MinuteOf(at), 3)
	if err != nil {
		t.Fatal(err)
	}
	for i, port := range ports {
		k := wire.Knock{Sequence: int8(i), Maximum: 2, Identifier: wire.Identifier([]byte(id)), Timestamp: uint32(at.Unix()), Nonce: base + uint32(i)}
		if change != nil {
			change(&k)
		}
		b, err := k.Sign([]byte(secret)).AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		w.macs = append(w.macs, slices.Clone(b[wire.OffsetMAC:]))
		list = append(list, client.Packet{Datagram: b, Port: port})
	}
	return list
}

// closing signs knocks so that they close.
func closing(t *testing.T, packets []client.Packet, secret string) []client.Packet {
	t.Helper()
	for i := range packets {
		k, err := wire.Parse(packets[i].Datagram)
		if err != nil {
			t.Fatal(err)
		}
		if packets[i].Datagram, err = k.SignClosing([]byte(secret)).AppendBinary(nil); err != nil {
			t.Fatal(err)
		}
	}
	return packets
}

// TestTraceExplains has a client that fails in each way, end to end: from its datagrams
// to the line for the administrator.
func TestTraceExplains(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := &tracedWorld{world: newWorld(t, func(s *setup) {
		s.keys = "[[service]]\nname = \"other\"\ntype = \"proxy\"\nlisten = \"[::]:8090\"\nupstream = \"127.0.0.1:9\"\n"
		s.web = "open_for = \"1h\"\nopen_max = \"1h\"\n"
		s.list[0].Services = "web"
		s.list[1].Expires = s.now.Add(-time.Hour)
		s.list[2].Previous, s.list[2].Until = []byte("the old secret"), s.now.Add(-time.Minute)
	})}
	const from, secret1 = "198.51.100.2", "secret of com1"
	started := w.trace(t, "com1")
	if started.Event != admin.TraceStarted || !strings.Contains(started.Text, "client com1, which may open web;") || !strings.Contains(started.Text, "10 minutes") {
		t.Errorf("started: %+v", started)
	}
	_, err := w.server.Trace(t.Context(), admin.Trace{Identifier: "com2", Seconds: 5})
	if err == nil || !strings.Contains(err.Error(), "a trace of com1 runs until") {
		t.Errorf("a second trace: %v", err)
	}
	check := func(what string, l admin.TraceLine, authenticated bool, parts ...string) {
		t.Helper()
		if l.Authenticated != authenticated {
			t.Errorf("%s: authenticated %v: %+v", what, l.Authenticated, l)
		}
		for _, p := range parts {
			if !strings.Contains(l.Text+"|"+l.Hint, p) {
				t.Errorf("%s: no %q in %q, hint %q", what, p, l.Text, l.Hint)
			}
		}
		if l.Event != admin.TraceAttempt && l.Source.String() != from {
			t.Errorf("%s: from %s", what, l.Source)
		}
	}
	one := func(p []client.Packet) []client.Packet { return p[:1] }
	signed := func(off time.Duration, base uint32, change func(*wire.Knock)) []client.Packet {
		return w.packets(t, "com1", secret1, off, base, change)
	}

	w.send(t, from, server4, one(signed(-5*time.Minute, 10, nil)))
	l := w.next(t, admin.TraceRefused, "sequence")
	check("the clock is behind", l, true, "the client's clock is 5m", "behind this server's; at most 1m0s", "set the client's clock")
	if l.ClockOff == nil || *l.ClockOff > -299 || *l.ClockOff < -302 || l.Knock != 1 || l.Of != 3 || *l.Nonce != 10 {
		t.Errorf("the clock is behind: %+v", l)
	}
	ahead := signed(90*time.Second, 15, nil) // at a live port, whose minute has begun for it
	w.send(t, from, server4, one(ahead))
	l = w.next(t, admin.TraceRefused, "clock")
	check("the clock is ahead, at a live port", l, true, "the client's clock is 1m", "ahead of this server's; at most 1m0s")
	if *l.ClockOff < 87 || *l.ClockOff > 90 || *l.Nonce != 15 {
		t.Errorf("the clock is ahead: %+v", l)
	}
	w.send(t, from, server4, one(w.packets(t, "com1", "guessed", 0, 20, nil)))
	check("a wrong MAC", w.next(t, admin.TraceRefused, "mac"), false, "wrong MAC", "its secret differs", "client profile")
	w.send(t, from, server4, one(signed(0, 30, func(k *wire.Knock) { k.Maximum = 3 })))
	check("another number of knocks", w.next(t, admin.TraceRefused, "maximum"), true, "sequences of 4 knocks, and this server expects 3")
	swapped := signed(0, 40, nil)
	swapped[0].Port = swapped[1].Port
	w.send(t, from, server4, one(swapped))
	check("a wrong port", w.next(t, admin.TraceRefused, "sequence"), true, "wrong port: it arrived at the port of knock 2 of minute", "port_secret")
	late := signed(0, 50, func(k *wire.Knock) { k.Timestamp += 45 }) // in the next minute
	w.send(t, from, server4, one(late))
	check("a wrong minute", w.next(t, admin.TraceRefused, "minute"), true, "wrong port for its minute")

	// Attempts: one that is complete, its replay, and one whose knocks are missing.
	whole := signed(0, 1000, nil)
	w.send(t, from, server4, whole)
	check("complete", w.next(t, admin.TraceAttempt, "opened"), true, "opens web for 198.51.100.2", "the client may not open other", "client allow")
	w.send(t, from, server4, one(whole))
	l = w.next(t, admin.TraceKnock, "replay")
	check("a replay", l, true, "its nonce 1000 is used already", "the highest used is 1002")
	if *l.Highest != 1002 || *l.Nonce != 1000 {
		t.Errorf("a replay: %+v", l)
	}
	w.send(t, from, server4, one(signed(0, 5, nil)))
	check("below the window", w.next(t, admin.TraceRefused, "below"), true, "its nonce 5 is below the window: the lowest that is accepted is 811, the highest used is 1002")
	half := signed(0, 1010, nil)
	w.send(t, from, server4, half[:2])
	w.until(t, "both knocks", func() bool {
		return w.server.sessions.Stats()[sessions.Recorded] >= 4
	})
	w.clock.pass(25)
	check("incomplete", w.next(t, admin.TraceIncomplete, "incomplete"), true, "2 of 3 knocks of an attempt arrived and are right; missing: 3")
	moved := signed(0, 1020, nil)
	w.send(t, from, server4, one(moved))
	w.until(t, "its first knock", func() bool { return w.server.sessions.Stats()[sessions.Recorded] >= 5 })
	w.send(t, "198.51.100.3", server4, moved[1:2])
	l = w.next(t, admin.TraceKnock, "other_source")
	if !l.Authenticated || !strings.Contains(l.Text, "it came from 198.51.100.3, and the first knock of its attempt from 198.51.100.2") {
		t.Errorf("another source: %+v", l)
	}

	// Knocks that do not belong to their attempt.
	begun := func(base uint32) []client.Packet {
		list, before := signed(0, base, nil), w.server.sessions.Stats()[sessions.Recorded]
		w.send(t, from, server4, one(list))
		w.until(t, "its first knock", func() bool { return w.server.sessions.Stats()[sessions.Recorded] > before })
		return list
	}
	begun(1030)
	w.send(t, from, server4, signed(0, 1031, nil)[2:]) // both attempts have the nonce 1032
	check("attempts that share nonces", w.next(t, admin.TraceKnock, "older"), true, "knock 3 of 3: it is of another attempt", "each needs its own client")
	begun(1040)
	w.send(t, from, server4, signed(45*time.Second, 1040, nil)[1:2]) // within the tolerance, and of the next minute
	check("another minute", w.next(t, admin.TraceKnock, "other_minute"), true, "knock 2 of 3: it is for another minute than the first knock")
	begun(1050)
	w.send(t, from, server4, closing(t, signed(0, 1050, nil)[1:2], secret1))
	check("another purpose", w.next(t, admin.TraceKnock, "other_purpose"), true, "knock 2 of 3: it closes, and its attempt opens, or the reverse")

	// The rest of the rules.
	w.send(t, from, server4, signed(0, 0, func(k *wire.Knock) { k.Nonce = 0 })[1:2])
	check("a nonce below the sequence ID", w.next(t, admin.TraceRefused, "nonce"), true, "its nonce 0 is smaller than its sequence ID")
	broken := one(signed(0, 2000, nil))
	broken[0].Datagram[wire.OffsetSequence] = 77
	w.send(t, from, server4, broken)
	check("no knock", w.next(t, admin.TraceRefused, "malformed"), false, "is no knock: its sequence ID or maximum is wrong")
	w.server.gate.EndLeases(func(gate.Lease) bool { return true }, true, gate.ByAdministrator)
	w.until(t, "the end of the lease", func() bool { return !w.server.reloads.table.Leased(wire.Identifier([]byte("com1"))) })
	w.send(t, from, server4, closing(t, one(signed(0, 2010, nil)), secret1))
	check("closes without a lease", w.next(t, admin.TraceRefused, "mac"), true, "closing knock 1 of 3: it closes, and the client has no lease")

	// A flood in the client's name does not hide what the client sends.
	flood := slices.Repeat(w.packets(t, "com1", "guessed", 0, 2500, nil), 300)
	w.send(t, from, server4, flood)
	w.send(t, from, server4, one(signed(8*time.Minute, 2600, nil)))
	for l = w.next(t, admin.TraceRefused, "sequence"); !strings.Contains(l.Text, "ahead of this server's"); {
		l = w.next(t, admin.TraceRefused, "sequence")
	}
	check("beside a flood", l, true, "the client's clock is 8m")
	forgeries := 0
	for _, l := range w.seen {
		if l.Reason == "mac" && !l.Authenticated {
			forgeries++
		}
	}
	if forgeries > 20 {
		t.Errorf("%d lines of the flood", forgeries)
	}

	// A gap: knocks that were stamped before it are refused.
	stale := signed(0, 3000, nil)
	if _, err := w.server.sessions.Missed(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.send(t, from, server4, one(stale))
	check("a gap", w.next(t, admin.TraceKnock, "before_start"), true, "the server refuses stamps up to", "may be a replay")
	// The others, each with another trace.
	for _, row := range []struct {
		id, secret, event, reason string
		authenticated             bool
		parts                     []string
	}{
		{"com2", "secret of com2", admin.TraceRefused, "expired", true, []string{"the client has expired, at ", "client expire"}},
		{"com3", "the old secret", admin.TraceRefused, "mac", true, []string{"signed with the secret from before a rotation that is over", "client profile"}},
		{"none", "a secret", admin.TraceRefused, "identifier", false, []string{"no client of the running server has this identifier"}},
	} {
		w.end()
		w.trace(t, row.id)
		w.send(t, from, server4, one(w.packets(t, row.id, row.secret, 0, 10, nil)))
		check(row.id, w.next(t, row.event, row.reason), row.authenticated, row.parts...)
	}
	w.end()
	w.hides(t, "secret of com", "guessed", "the old secret", "the port secret")
	if n := w.capture.sent(t); n != 0 {
		t.Errorf("the server has sent %d packets", n)
	}
}

// hides fails the test if a line that the trace showed has one of the secrets, the MAC of a
// datagram that was made, or a port of another minute.
func (w *tracedWorld) hides(t *testing.T, secrets ...string) {
	t.Helper()
	for _, mac := range w.macs {
		secrets = append(secrets, string(mac), hex.EncodeToString(mac), base64.StdEncoding.EncodeToString(mac), strings.Trim(fmt.Sprint(mac), "[]"))
	}
	ports, now := map[string]bool{}, schedule.MinuteOf(w.clock.Now())
	for minute := now - 12; minute <= now+12; minute++ {
		list, err := schedule.Ports(schedule.Algorithm1, "the port secret", minute, 3)
		if err != nil {
			t.Fatal(err)
		}
		for _, port := range list {
			ports[fmt.Sprint(port)] = port > 4096 // the test's nonces are smaller
		}
	}
	number := regexp.MustCompile(`[0-9]+`)
	for _, l := range w.seen {
		text := fmt.Sprintf("%s|%s|%s|%s|%s", l.Event, l.Reason, l.Operation, l.Text, l.Hint)
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("%q has %q", text, secret)
			}
		}
		for _, n := range number.FindAllString(l.Text, -1) {
			if ports[n] {
				t.Errorf("%q has a port of another minute", l.Text)
			}
		}
	}
	if len(w.seen) < 20 || len(w.macs) < 30 {
		t.Errorf("%d lines, %d datagrams", len(w.seen), len(w.macs))
	}
}

// TestTraceOfAnOperation: exchanges over HTTP and DNS, from the request to the command, in
// each way in which they fail. Only a right response is authenticated.
func TestTraceOfAnOperation(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newCarrierWorld(t, carriedOperation(carriedID, "uses = 1")+carriedOperation("from-com1-", "from = [\"192.0.2.0/24\"]"), "")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	for _, wrong := range []admin.Trace{{Identifier: "no-such-operation", Seconds: 1}, {Identifier: carriedID}, {Identifier: carriedID, Seconds: 601}, {Identifier: "", Seconds: 1}} {
		if _, err := w.server.Trace(ctx, wrong); err == nil {
			t.Errorf("%+v is accepted", wrong)
		}
	}
	lines, err := w.server.Trace(ctx, admin.Trace{Identifier: carriedID, Seconds: 600})
	if err != nil {
		t.Fatal(err)
	}
	if l := <-lines; l.Text != "exchanges of "+carriedID {
		t.Errorf("started: %+v", l)
	}
	const origin = "http://" + siteName
	browser := w.browser(false)
	expect := func(lines <-chan admin.TraceLine, operation string, all ...admin.TraceLine) {
		t.Helper()
		for _, want := range all {
			var l admin.TraceLine
			select {
			case l = <-lines:
			case <-time.After(20 * time.Second):
				t.Fatalf("no line %+v", want)
			}
			if l.Event != admin.TraceExchange || l.Reason != want.Reason || l.Authenticated != want.Authenticated || !strings.Contains(l.Text, want.Text) {
				t.Errorf("got %+v, want %+v", l, want)
			}
			if want.Source != l.Source || l.Operation != operation {
				t.Errorf("operation %s from %v, want %v: %s", l.Operation, l.Source, want.Source, l.Text)
			}
		}
	}
	// A wrong response, over HTTP.
	d := newDialogue(t, carriedID, self4, to4)
	if d.send(browser, origin, d.message(d.kind, d.initiator.Request()), false) == nil {
		t.Fatal("no challenge")
	}
	d.send(browser, origin, d.message(carrier.Response, make([]byte, exchange.MACSize)), false)
	expect(lines, carriedID, admin.TraceLine{Reason: "carried_answered", Source: self4, Text: "a request arrived, and the challenge was sent"},
		admin.TraceLine{Reason: "carried_refused", Source: self4, Text: "the response is wrong"})
	// One of another operation is not shown, and one that names none is.
	d = newDialogue(t, "from-com1-", self4, to4)
	d.send(browser, origin, d.message(d.kind, d.initiator.Request()), false)
	d = newDialogue(t, "no-such-id", self4, to4)
	d.send(browser, origin, d.message(d.kind, d.initiator.Request()), true)
	expect(lines, "", admin.TraceLine{Reason: "carried_no_operation", Source: self4, Text: "names no operation of this server"})
	// A response for which no exchange waits.
	d.send(browser, origin, d.message(carrier.Response, make([]byte, exchange.MACSize)), true)
	expect(lines, "", admin.TraceLine{Reason: "carried_no_exchange", Text: "no exchange waits for it"})
	// An IPv6 address in the request of a connection over IPv4.
	d = newDialogue(t, carriedID, netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr(server6))
	d.send(browser, origin, d.message(d.kind, d.initiator.Request()), false)
	expect(lines, carriedID, admin.TraceLine{Reason: "carried_other_address", Source: self4, Text: "another family of addresses"})
	// Right, and then no use is left: over HTTP, and over DNS.
	newDialogue(t, carriedID, self4, to4).byHTTP(browser, origin, false)
	w.until(t, "the use", func() bool { return w.server.usesLeft()[0].Left == 0 })
	expect(lines, carriedID, admin.TraceLine{Reason: "carried_answered", Source: self4, Text: "the challenge was sent"},
		admin.TraceLine{Reason: "verified", Source: self4, Authenticated: true, Text: "the response is right"},
		admin.TraceLine{Reason: "executed", Source: self4, Authenticated: true, Text: "executed"})
	d = newDialogue(t, carriedID, self4, to4)
	d.send(browser, origin, d.message(d.kind, d.initiator.Request()), false)
	expect(lines, carriedID, admin.TraceLine{Reason: "carried_not_allowed", Source: self4, Text: "no use of the operation is left"})
	w.clock.pass(50) // unsigned lines may come again
	d = newDialogue(t, carriedID, netip.Addr{}, toZone)
	m := d.message(d.kind, d.initiator.Request())
	for i := range m.Labels() {
		if got := lookup(t, "udp", string(m.AppendLabel(nil, i))); len(got) > 0 {
			t.Errorf("a challenge: %q", got)
		}
	}
	expect(lines, carriedID, admin.TraceLine{Reason: "carried_not_allowed", Text: "no use of the operation is left"})
	stop()
	var last admin.TraceLine
	for last = range lines {
	}
	// Its context has ended: there may be no last line.
	if last.Event != "" && last.Event != admin.TraceEnded {
		t.Errorf("last %+v", last)
	}

	// A trace of the client has all its operations.
	lines, err = w.server.Trace(t.Context(), admin.Trace{Identifier: "com1", Seconds: 600})
	if err != nil {
		t.Fatal(err)
	}
	<-lines
	d = newDialogue(t, "from-com1-", self4, to4)
	d.send(browser, origin, d.message(d.kind, d.initiator.Request()), false)
	expect(lines, "from-com1-", admin.TraceLine{Reason: "carried_not_allowed", Source: self4, Text: "its address is not in from of the operation"})
}

// TestTraceOfATunnel: the trace shows a tunnel, and one that is refused, as authenticated.
func TestTraceOfATunnel(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w, _ := newTunnelWorld(t, carriedOperation(carriedID, "")+carriedOperation("close-com1", "action = \"close\""))
	traced := &tracedWorld{world: w}
	traced.trace(t, "com1")
	ticket := func(id string) (carrier.Exchange, [exchange.TicketSize]byte) {
		d := newDialogue(t, id, netip.Addr{}, carrier.ServerOf(carrier.HTTP, siteName))
		return d.x, d.byHTTP(w.browser(true), tunnelOrigin, true).Ticket
	}
	x, right := ticket(carriedID)
	c, err := w.dialTunnel(t, x, right)
	if err != nil {
		t.Fatal(err)
	}
	if status, err := getBy(c); status != http.StatusOK || err != nil {
		t.Errorf("status %d, %v", status, err)
	}
	l := traced.next(t, admin.TraceExchange, "tunnel")
	if !l.Authenticated || l.Operation != carriedID || l.Source != self4 {
		t.Errorf("a tunnel: %+v", l)
	}
	x, right = ticket("close-com1")
	if _, err := w.dialTunnel(t, x, right); err == nil {
		t.Error("an operation that closes opens a tunnel")
	}
	if l = traced.next(t, admin.TraceExchange, "failed"); !l.Authenticated || !strings.Contains(l.Text, "no tunnel") {
		t.Errorf("a refused tunnel: %+v", l)
	}
}
