package daemon

import (
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions"
	"sallyport/sessions/client"
)

// TestAttemptFromSeveralAddresses: behind a carrier's translators, the knocks of an
// attempt and the connection come from several addresses of a prefix. A service with that
// grant_prefix4 opens, for all of them; another service does not, and the log names both
// cases. A client that may not open the first service opens nothing.
func TestAttemptFromSeveralAddresses(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	log := new(logLines)
	has := func(part string) bool { return strings.Contains(log.String(), part) }
	w := newWorld(t, func(s *setup) {
		s.log = slog.New(slog.NewTextHandler(log, nil))
		s.web = "grant_prefix4 = 24\nopen_for = \"1h\"\nopen_max = \"1h\"\n" + `
[[service]]
name = "narrow"
type = "proxy"
listen = "[::]:8081"
upstream = "127.0.0.1:9"
`
		s.list[1].Services = "narrow"
	})
	grants := watchFeed(t, w.server)
	attempt := func(id string, base uint32, from ...string) {
		t.Helper()
		packets, err := client.Sequence(w.profile(id, server4), w.clock.Now(), base)
		if err != nil {
			t.Fatal(err)
		}
		before := w.server.sessions.Stats()
		for i, p := range packets {
			w.send(t, from[i%len(from)], server4, []client.Packet{p})
			w.until(t, "a knock", func() bool {
				var n uint64
				for o, of := range w.server.sessions.Stats() {
					n += of - before[o]
				}
				return n == uint64(i+1)
			})
		}
	}
	leases := func() (all []string) {
		for _, l := range w.server.gate.Leases() {
			all = append(all, l.Service+" "+l.Client.String()+" "+l.Peer.String())
		}
		slices.Sort(all)
		return all
	}
	attempt("com1", 10, "198.51.100.2", "198.51.100.3")
	w.until(t, "the opening", func() bool { return w.opened() == 1 && len(leases()) > 0 })
	if got := leases(); !slices.Equal(got, []string{"web com1 198.51.100.0/24"}) {
		t.Errorf("leases %v", got)
	}
	if g := <-grants; !slices.Equal(g.Services, []string{"web"}) || g.Client != "com1" {
		t.Errorf("announced %+v", g)
	}
	for _, from := range []string{"198.51.100.2", "198.51.100.3"} {
		d := &net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0)), Timeout: 10 * time.Second}
		if status, err := w.getBy(d, server4, "/test1.html"); err != nil || status != 200 {
			t.Errorf("from %s: %d, %v", from, status, err)
		}
	}
	const closed = `msg="knocks from several addresses; the service stays closed" service=narrow client=com1`
	if !has(closed) || has("from two addresses") {
		t.Error("the log does not name the service that stays closed")
	}
	attempt("com2", 10, "198.51.100.2", "198.51.100.3", "198.51.100.2")
	const line = `msg="attempt from two addresses; it opens nothing" client=com2 address=198.51.100.2 other_address=198.51.100.3`
	w.until(t, "the line", func() bool { return has(line) })
	stats := w.server.sessions.Stats()
	if stats[sessions.OtherSource] != 1 || stats[sessions.Opened] != 1 {
		t.Errorf("outcomes %v", stats)
	}
	attempt("com2", 20, "198.51.100.3")
	w.until(t, "the second opening", func() bool { return slices.Contains(leases(), "narrow com2 198.51.100.3/32") })
}
