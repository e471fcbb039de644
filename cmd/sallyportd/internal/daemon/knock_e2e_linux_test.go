package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions"
	"sallyport/sessions/client"
	"sallyport/verify"
	"sallyport/verify/schedule"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

// shortLease has tests see the end of a lease soon.
const shortLease = "open_for = \"3s\""

func TestKnockOpens(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newWorld(t, func(s *setup) { s.web = shortLease })
	var link string
	if err := w.host.Do(func() error {
		cli, err := net.InterfaceByName("cli")
		link = fmt.Sprintf("fe80::1%%%d", cli.Index)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	knocks := uint64(0)
	for _, server := range []string{server4, server6, link} {
		w.until(t, "a lease that lasts for the pages", func() bool {
			if w.listening() {
				t.Fatal("it listens before the knock")
			}
			if _, err := w.knock(t.Context(), w.profile("com1", server), 0); err != nil {
				t.Fatalf("%s: %v", server, err)
			}
			wrong := ""
			for path, want := range map[string]int{"/test1.html": 200, "/test3.html": 200, "/": 404} {
				if got, err := w.get(server, path); got != want {
					wrong += fmt.Sprintf("%s%s: %d, %v\n", server, path, got, err)
				}
			}
			if knocks++; w.opened() != knocks {
				t.Errorf("opened %d times, want %d", w.opened(), knocks)
			}
			if wrong != "" && !w.listening() {
				return false // a busy machine was too slow
			}
			if wrong != "" {
				t.Error(wrong)
			}
			return true
		})
		w.until(t, "the end of the lease", func() bool { return !w.listening() })
		if testing.Short() {
			break // IPv6 and link-local addresses take a lease each
		}
	}
	w.capture.onlyTheWebServer(t)
}

func TestOnlyTheKnockerGetsIn(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	for _, anyone := range []bool{false, true} {
		t.Run(fmt.Sprintf("anyone=%v", anyone), func(t *testing.T) {
			w := newWorld(t, func(s *setup) {
				s.web = fmt.Sprintf("open_to = %q\nopen_for = \"1m\"", map[bool]string{false: "knocker", true: "anyone"}[anyone])
			})
			p := w.profile("com1", server4)
			packets, err := client.Sequence(p, w.clock.Now(), 0)
			if err != nil {
				t.Fatal(err)
			}
			w.send(t, "198.51.100.3", server4, packets) // .2 will connect
			w.until(t, "the opening", w.listening)
			d := new(net.Dialer)
			if !anyone {
				d.Timeout = time.Second // a stranger gets no answer
			}
			if status, err := w.getBy(d, server4, "/test1.html"); (err == nil && status == 200) != anyone {
				t.Errorf("another address: %d, %v", status, err)
			}
		})
	}
}

// TestNothingOpens sends whole sequences with one flaw each. All else is as
// it should be, MAC included. The server sends nothing at all.
func TestNothingOpens(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	// So that each refusal is counted with its reason.
	w := newWorld(t, func(s *setup) { s.keys, s.web = "kernel_filter = false", shortLease })
	// The minute must not turn while the rows are sent, and the ports of those that are 62
	// seconds off must be open.
	w.clock.SetSecond(5)
	w.moved(t)
	p := w.profile("com1", server4)
	base := uint32(0)
	sequence := func(p client.Profile, off time.Duration) []client.Packet {
		t.Helper()
		packets, err := client.Sequence(p, w.clock.Now().Add(off), base)
		if err != nil {
			t.Fatal(err)
		}
		base += uint32(p.Ports)
		return packets
	}
	ports := func(off time.Duration) []uint16 {
		t.Helper()
		ports, err := schedule.Ports(p.Generator, p.PortSecret, schedule.MinuteOf(w.clock.Now().Add(off)), p.Ports)
		if err != nil {
			t.Fatal(err)
		}
		return ports
	}
	// to redirects a sequence to ports that are open, so that a refusal is
	// ours, not that of a closed port.
	to := func(packets []client.Packet, ports ...uint16) []client.Packet {
		for i := range packets {
			packets[i].Port = ports[i%len(ports)]
		}
		return packets
	}
	now := ports(0)
	otherSecret, otherClient, otherCount := p, p, p
	otherSecret.Secret = []byte("secret of com2")
	otherClient.Identifier = wire.Identifier([]byte("nobo"))
	otherCount.Ports = 4
	resize := func(packets []client.Packet, size int) []client.Packet {
		for i := range packets {
			packets[i].Datagram = append(packets[i].Datagram, make([]byte, 1500)...)[:size]
		}
		return packets
	}
	restamp := func(off time.Duration) []client.Packet {
		packets := make([]client.Packet, 3)
		for i := range packets {
			packets[i] = client.Packet{Port: now[i], Datagram: verifytest.SignUnder(t, wire.Knock{
				Sequence: int8(i), Maximum: 2, Identifier: p.Identifier, Nonce: base + uint32(i),
				Timestamp: uint32(w.clock.Now().Add(off).Unix()),
			}, p.Secret)}
		}
		base += 3
		return packets
	}
	good := sequence(p, 0)
	w.send(t, "198.51.100.2", server4, good)
	w.until(t, "the opening", func() bool { return w.opened() == 1 })
	w.until(t, "the end of the lease", func() bool { return !w.listening() })

	type counts struct {
		reasons  [verify.NumReasons]uint64
		outcomes [sessions.NumOutcomes]uint64
	}
	count := func() counts { return counts{w.server.ingest.Stats().Reasons, w.server.sessions.Stats()} }
	for _, row := range []struct {
		name    string
		packets []client.Packet
		reason  verify.Reason // of three datagrams
		outcome sessions.Outcome
	}{
		{"replay", good, verify.Authentic, sessions.Replay},
		{"wrong order", to(sequence(p, 0), now[1], now[2], now[0]), verify.Sequence, 0},
		{"wrong port", to(sequence(p, 0), ports(time.Minute)...), verify.Minute, 0},
		{"wrong secret", sequence(otherSecret, 0), verify.MAC, 0},
		{"unknown identifier", sequence(otherClient, 0), verify.Identifier, 0},
		{"old timestamp", restamp(-61 * time.Second), verify.Minute, 0},
		{"old sequence", to(sequence(p, -2*time.Minute), now...), verify.Minute, 0},
		{"older than the tolerance", sequence(p, -62*time.Second), verify.ClockSkew, 0},
		{"future timestamp", restamp(62 * time.Second), verify.Minute, 0},
		{"newer than the tolerance", sequence(p, 62*time.Second), verify.ClockSkew, 0},
		{"truncated", resize(sequence(p, 0), 47), verify.Size, 0},
		{"empty", resize(sequence(p, 0), 0), verify.Size, 0},
		{"over-long", resize(sequence(p, 0), 49), verify.Size, 0},
		{"longer than a buffer", resize(sequence(p, 0), 1400), verify.Size, 0},
		{"maximum beyond n-1", to(sequence(otherCount, 0)[:3], now...), verify.Maximum, 0},
		{"one missing", sequence(p, 0)[:2], verify.Authentic, sessions.Recorded},
		{"from two addresses", nil, verify.Authentic, sessions.OtherSource},
	} {
		t.Run(row.name, func(t *testing.T) {
			sent := w.capture.sent(t)
			want := count()
			want.reasons[row.reason] += uint64(len(row.packets))
			if row.reason == verify.Authentic {
				want.outcomes[row.outcome] += uint64(len(row.packets))
			}
			if row.packets == nil {
				packets := sequence(p, 0)
				w.send(t, "198.51.100.2", server4, packets[:2])
				w.until(t, "the first two", func() bool { return count().outcomes[sessions.Recorded] == want.outcomes[sessions.Recorded]+2 })
				w.send(t, "198.51.100.3", server4, packets[2:])
				want.reasons[verify.Authentic] += 3
				want.outcomes[sessions.Recorded] += 2
				want.outcomes[sessions.OtherSource]++
			} else {
				w.send(t, "198.51.100.2", server4, row.packets)
			}
			netns.Until(t, "the refusal", func() bool { return count() == want },
				func() string { return fmt.Sprintf("got  %v\nwant %v", count(), want) })
			if w.listening() {
				t.Error("the web server listens")
			}
			if got := w.capture.sent(t); got != sent {
				t.Errorf("the server sent %d packets", got-sent)
			}
		})
	}
	// After all that, the client still gets in.
	w.send(t, "198.51.100.2", server4, sequence(p, 0))
	w.until(t, "the last opening", func() bool { return w.opened() == 2 })
	if sent := w.capture.sent(t); sent != 0 {
		t.Errorf("the server sent %d packets", sent)
	}
}

// TestTurnOfTheMinuteUnderAMovedClock knocks before, during and after the
// turn, with clients that are 50 s slow and fast.
func TestTurnOfTheMinuteUnderAMovedClock(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("waits for the turn of the minute, and for leases")
	}
	if !netns.Enter(t) {
		return
	}
	w := newWorld(t, func(s *setup) { s.web = shortLease })
	offs := map[string]time.Duration{"com1": -50 * time.Second, "com2": 0, "com3": 50 * time.Second}
	knockAll := func(when string) {
		t.Helper()
		for id, off := range offs {
			before := w.opened()
			if _, err := w.knock(t.Context(), w.profile(id, server4), off); err != nil {
				t.Errorf("%s the turn, off by %v: %v", when, off, err)
				continue
			}
			// The service may be open by the lease of the client before.
			w.until(t, "the grant", func() bool { return w.opened() > before })
			if n := w.opened() - before; n != 1 {
				t.Errorf("%s the turn, off by %v: opened %d times", when, off, n)
			}
		}
	}
	w.clock.SetSecond(55)
	minute := schedule.MinuteOf(w.clock.Now())
	w.moved(t)
	knockAll("before")
	// A sequence on its way while the minute turns: its last knock arrives
	// after it.
	w.clock.SetSecond(58)
	w.moved(t)
	packets, err := client.Sequence(w.profile("com4", server4), w.clock.Now(), 0)
	if err != nil {
		t.Fatal(err)
	}
	w.send(t, "198.51.100.2", server4, packets[:2])
	w.until(t, "the turn", func() bool { return schedule.MinuteOf(w.clock.Now()) != minute })
	before := w.opened()
	w.send(t, "198.51.100.2", server4, packets[2:])
	w.until(t, "the knock under way at the turn", func() bool { return w.opened() == before+1 })
	w.moved(t)
	knockAll("after")
	// Off by more than the tolerance, at a second where the ports are open
	// all the same.
	w.clock.SetSecond(90)
	w.moved(t)
	for _, off := range []time.Duration{-65 * time.Second, 65 * time.Second} {
		before := w.opened()
		w.until(t, "the end of the leases", func() bool { return !w.listening() })
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		_, err := w.knock(ctx, w.profile("com2", server4), off)
		if !errors.Is(err, context.DeadlineExceeded) || w.opened() != before {
			t.Errorf("off by %v: %v", off, err)
		}
		cancel()
	}
	w.capture.onlyTheWebServer(t)
}

// TestGeneratorsAndLengths goes through both generators and the shortest and
// longest sequences.
func TestGeneratorsAndLengths(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	for _, g := range []schedule.Generator{schedule.Algorithm1, schedule.Java} {
		for _, n := range []int{1, 3, 128} {
			t.Run(fmt.Sprintf("%s/%d", g, n), func(t *testing.T) {
				w := newWorld(t, func(s *setup) { s.ports, s.generator = n, g })
				p := w.profile("com1", server6)
				p.Ports, p.Generator = n, g
				if _, err := w.knock(t.Context(), p, 0); err != nil {
					t.Errorf("%v\ningest %+v\nsessions %v", err, w.server.ingest.Stats(), w.server.sessions.Stats())
				}
			})
		}
	}
}
