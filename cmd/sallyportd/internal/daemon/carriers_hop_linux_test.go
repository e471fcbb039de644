package daemon

import (
	"net/netip"
	"strings"
	"testing"

	"sallyport/bench/netns"
	"sallyport/verify/challenge/carrier"
	"sallyport/verify/schedule"
)

// TestHopWithoutPackets: with hop and capture = "none", requests over HTTP and DNS are
// those of a live minute, masked by it, and all others get a stranger's answer; also after
// a reload.
func TestHopWithoutPackets(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	const hops = 1000
	cert, key := certificateFiles(t, t.TempDir())
	keys := carrierKeys(cert, key, carriedOperation(carriedID, "")+carriedOperation("random-web", "port = \"random\""))
	keys = strings.Replace(keys, "capture = \"none\"", "capture = \"none\"\nhop = 1000", 1)
	w := newWorld(t, func(s *setup) { s.web = keys })
	w.until(t, "the zone", func() bool { return w.server.challenge.carriers.zone.now.Load() != nil })
	const origin = "http://" + siteName
	browser := w.browser(false)
	now := schedule.MinuteOf(w.clock.Now())
	masked := func(id string, self, server netip.Addr, m schedule.Minute) *dialogue {
		d := newDialogue(t, id, self, server)
		d.initiator.Hop(schedule.HopKeyOf("the port secret").Hop(m, hops))
		return d
	}
	for i := range 2 {
		for name, d := range map[string]*dialogue{
			"without a mask": newDialogue(t, carriedID, self4, to4), "of a minute long ago": masked(carriedID, self4, to4, now-10),
			"of another secret": func() *dialogue {
				d := newDialogue(t, carriedID, self4, to4)
				d.initiator.Hop(schedule.HopKeyOf("another").Hop(now, hops))
				return d
			}(),
		} {
			if d.send(browser, origin, d.message(d.kind, d.initiator.Request()), true) != nil {
				t.Errorf("a request %s has a challenge", name)
			}
		}
		d := newDialogue(t, "random-web", netip.Addr{}, toZone)
		m := d.message(carrier.RequestConnection, d.initiator.Request())
		for i := range m.Labels() {
			if texts := lookup(t, "udp", string(m.AppendLabel(nil, i))); len(texts) > 0 {
				t.Errorf("a request over DNS without a mask has the challenge %q", texts)
			}
		}
		if port := masked("random-web", netip.Addr{}, toZone, now).byDNS("udp").Port; port == 0 {
			t.Error("no port")
		}
		if i == 0 {
			w.apply(t, keys)
			continue
		}
		masked(carriedID, self4, to4, now).byHTTP(browser, origin, false)
		w.until(t, "the service", w.reached)
	}
}
