package daemon

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/metrics"
	"sallyport/cmd/sallyportd/internal/selftest"
	"sallyport/cmd/sallyportd/internal/systemd"
	"sallyport/ingest/prefilter"
	"sallyport/sessions"
	"sallyport/sessions/client"
	"sallyport/sessions/state"
	"sallyport/verify/schedule"
)

// often is for tests that pass, hurried for those that fail.
var (
	often   = selftest.Pace{First: 1, Interval: 20 * time.Millisecond, Attempts: []time.Duration{0, 5 * time.Second, 10 * time.Second}, Limit: time.Minute}
	hurried = selftest.Pace{First: 1, Interval: 20 * time.Millisecond, Attempts: []time.Duration{0}, Limit: time.Second}
)

// results waits until so many more self-tests have a result.
func results(t *testing.T, s *Server, r selftest.Result, more uint64) {
	t.Helper()
	before := s.self.Counts()[r]
	netns.Until(t, fmt.Sprintf("%d tests that have %s", more, r), func() bool { return s.self.Counts()[r] >= before+more })
}

// TestSelfTest: the server's own knocks pass the kernel's filter, all checks, a session and
// the record, open nothing, and are in no counter of knocks.
func TestSelfTest(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	var log logText
	w := newWorld(t, func(s *setup) { s.pace, s.log = often, slog.New(slog.NewTextHandler(&log, nil)) })
	results(t, w.server, selftest.Passed, 3)
	st := w.server.status()
	if level := w.server.ingest.Stats().Filter; level != prefilter.Clients {
		t.Errorf("the kernel's filter: %s", level)
	}
	if self := st.SelfTest; self.Result != "passed" || self.At == nil || self.Missed != 0 {
		t.Errorf("status %+v", self)
	}
	if st.Clients != 4 || st.Counters[selfPassed] < 3 {
		t.Errorf("%d clients, %v", st.Clients, st.Counters)
	}
	if all := w.server.Sessions(); all != [sessions.NumOutcomes]uint64{} {
		t.Errorf("counted %v", all)
	}
	if v := st.Services[0]; v.Leases != 0 || v.Granted != 0 || w.server.gate.knocked.Load() {
		t.Errorf("opened: %+v", v)
	}
	var text bytes.Buffer
	err := metrics.New(w.server.status).Text(&text)
	if err != nil || !strings.Contains(text.String(), `sallyport_self_test_total{result="passed"}`) {
		t.Errorf("%v\n%s", err, text.String())
	}
	if got := log.String(); strings.Contains(got, "self-test") || strings.Contains(got, "opened") {
		t.Errorf("logged:\n%s", got)
	}
	contents, err := state.ReadFile(filepath.Join(w.server.reloads.current.StateDir, state.FileName))
	if err != nil || len(contents.Entries) != 1 {
		t.Fatalf("the record: %+v, %v", contents.Entries, err)
	}
	if e := contents.Entries[0]; !selftest.Reserved(e.Identifier) || e.Stamp != 1 {
		t.Errorf("recorded %+v", e)
	}
	w.sendSequence(t, "com1", 20)
	w.until(t, "the opening", func() bool { return w.opened() == 1 })
	results(t, w.server, selftest.Passed, 1)
}

// TestSelfTestIsNoTraffic: the line about traffic leaves the server's own knocks out, and
// has those of others.
func TestSelfTestIsNoTraffic(t *testing.T) {
	at := func(received, authentic, passed uint64) counters {
		return counters{{"received", received}, {"authentic", authentic}, {selfPassed, passed}, {"mac", 0}}
	}
	var own ownDatagrams
	last := at(0, 0, 0)
	for i, row := range []struct {
		now  counters
		sent uint64
		want string
	}{
		{at(3, 3, 1), 3, "[]"},
		{at(6, 3, 1), 9, "[]"}, // the others are on their way
		{at(9, 9, 2), 9, "[]"},
		{at(11, 10, 3), 9, "[received=2 authentic=1]"},
		{at(15, 13, 4), 12, "[received=1]"},
	} {
		if got := fmt.Sprint(row.now.since(own.leaveOut(last, row.now, row.sent))); got != row.want {
			t.Errorf("%d: got %s, want %s", i, got, row.want)
		}
		last = row.now
	}
}

// TestSelfTestBehindFirewall: also with stealth, and after reloads that change the port
// secret, the number of knocks and the clients.
func TestSelfTestBehindFirewall(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	r := startReloadableIn(t, true, Env{Clock: system, Log: slog.New(slog.DiscardHandler), SelfTest: often})
	results(t, r.Server, selftest.Passed, 2)
	r.write(t, next)
	if _, err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	results(t, r.Server, selftest.Passed, 2)
	r.clients(t, "only the-new-secret-of-a-client 0\n")
	if done, err := r.ReloadClients(t.Context()); err != nil || done.Clients != 1 {
		t.Fatalf("%+v, %v", done, err)
	}
	results(t, r.Server, selftest.Passed, 2)
	if got := r.self.Counts(); got[selftest.Missed]+got[selftest.Excused] > 0 {
		t.Errorf("results %v", got)
	}
}

// TestSelfTestMisses: if a stage loses the knocks, three misses in a row end the signs of
// life, and they come again when a test passes.
func TestSelfTestMisses(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	var log logText
	w := newWorld(t, func(s *setup) { s.pace, s.log = hurried, slog.New(slog.NewTextHandler(&log, nil)) })
	results(t, w.server, selftest.Passed, 1)
	if err := w.server.sessions.Remove(t.Context(), selftest.Reserved); err != nil {
		t.Fatal(err)
	}
	results(t, w.server, selftest.Missed, 4)
	st := w.server.status().SelfTest
	if st.Missed < 3 || !strings.Contains(st.Reason, "the session took 0 of") || w.server.self.Alive() {
		t.Errorf("status %+v", st)
	}
	if got := log.String(); strings.Count(got, "watchdog no longer notified") != 1 {
		t.Errorf("logged:\n%s", got)
	}
	w.sendSequence(t, "com1", 20)
	w.until(t, "another client's opening", func() bool { return w.opened() == 1 })
}

// TestSelfTestExcused: what no restart removes stops no watchdog: a knock port that another
// program has, and a record that cannot be written.
func TestSelfTestExcused(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newWorld(t, func(s *setup) { s.pace = hurried })
	results(t, w.server, selftest.Passed, 1)
	later := w.clock.base.Add(10 * time.Minute)
	ports, err := schedule.Ports(schedule.Algorithm1, "the port secret", schedule.MinuteOf(later), 3)
	if err != nil {
		t.Fatal(err)
	}
	other, err := net.ListenPacket("udp", fmt.Sprintf("[::]:%d", ports[1]))
	if err != nil {
		t.Fatal(err)
	}
	w.clock.SetSecond(620)
	w.until(t, "the port to be missing", func() bool { return w.server.ingest.Stats().Failed > 0 })
	results(t, w.server, selftest.Excused, 4)
	if st := w.server.status().SelfTest; !w.server.self.Alive() || st.Result != "excused" {
		t.Errorf("status %+v", st)
	}
	other.Close()
	results(t, w.server, selftest.Passed, 1)
}

// TestSignsOfLife: a service manager hears that the server is ready, that it lives while
// its tests pass, and that it stops.
func TestSignsOfLife(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newWorld(t, func(s *setup) { s.pace = hurried })
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	states := make(chan string, 1000)
	go func() {
		defer close(states)
		for b := make([]byte, 100); ; {
			n, err := manager.Read(b)
			if err != nil {
				return
			}
			states <- string(b[:n])
		}
	}()
	w.server.env.Manager = systemd.FromEnvironment(func(name string) string {
		return map[string]string{"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "20000"}[name]
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stop := w.server.keepAlive(ctx)
	for _, want := range []string{"READY=1", "WATCHDOG=1", "WATCHDOG=1"} {
		if got := <-states; got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	results(t, w.server, selftest.Passed, 1)
	if err := w.server.sessions.Remove(ctx, selftest.Reserved); err != nil {
		t.Fatal(err)
	}
	w.until(t, "the third miss", func() bool { return !w.server.self.Alive() })
	stop()
	for {
		switch got := <-states; got {
		case "WATCHDOG=1":
		case "STOPPING=1":
			return
		default:
			t.Fatalf("got %q", got)
		}
	}
}

// TestFloodKeepsAlive: during a flood at all knock ports, with buffers that it fills, the
// server never counts three misses, whether its own knocks get through or not.
func TestFloodKeepsAlive(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newWorld(t, func(s *setup) { s.pace, s.keys = hurried, "receive_buffer = 4096\nqueue = 512" })
	results(t, w.server, selftest.Passed, 1)
	packets, err := client.Sequence(w.profile("com1", server4), w.clock.Now(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	for i := range packets {
		packets[i].Datagram[len(packets[i].Datagram)-1] ^= 1 // each costs an HMAC
	}
	ctx, stop := context.WithCancel(t.Context())
	var floods errgroup.Group
	for range 4 {
		floods.Go(func() error { return w.flood(ctx, packets) })
	}
	before := w.server.self.Counts()
	dead := false
	w.until(t, "self-tests during the flood, and drops", func() bool {
		dead = dead || !w.server.self.Alive()
		counts := w.server.self.Counts()
		done := counts[selftest.Passed] + counts[selftest.Missed] + counts[selftest.Excused] - before[selftest.Passed]
		in := w.server.ingest.Stats()
		return dead || done >= 12 && in.Kernel+in.Dropped > 0
	})
	stop()
	if err := floods.Wait(); err != nil {
		t.Error(err)
	}
	if dead {
		t.Errorf("the watchdog is stopped: %+v", w.server.self.Last())
	}
	results(t, w.server, selftest.Passed, 1)
}

// flood sends packets from the client's host as fast as it can, until ctx ends.
func (w *world) flood(ctx context.Context, packets []client.Packet) error {
	return w.host.Do(func() error {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP("198.51.100.3")})
		if err != nil {
			return err
		}
		defer c.Close()
		for ctx.Err() == nil {
			for _, p := range packets {
				c.WriteToUDPAddrPort(p.Datagram, netip.AddrPortFrom(netip.MustParseAddr(server4), p.Port)) // the device may be full
			}
		}
		return nil
	})
}
