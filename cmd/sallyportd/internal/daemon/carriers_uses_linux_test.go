package daemon

import (
	"net/netip"
	"testing"

	"sallyport/bench/netns"
	"sallyport/sessions/gate"
	"sallyport/verify/challenge/carrier"
)

// TestUsesOverCarriers: an operation with a limit draws as many challenges as asked, over
// HTTP and DNS, but of the responses to all of them, only as many open as there are uses
// left. Then neither carrier has a challenge for it.
func TestUsesOverCarriers(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newCarrierWorld(t, carriedOperation(carriedID, "uses = 2")+carriedOperation("random-web", "port = \"random\""), "")
	const origin = "http://" + siteName
	browser := w.browser(false)
	left := func() int { return w.server.usesLeft()[0].Left }
	var asked []*dialogue
	var challenges [][]byte
	for range 4 {
		d := newDialogue(t, carriedID, self4, to4)
		c := d.send(browser, origin, d.message(d.kind, d.initiator.Request()), true)
		if c == nil {
			t.Fatal("no challenge")
		}
		asked, challenges = append(asked, d), append(challenges, c)
	}
	for i, d := range asked {
		m, _ := d.respond(challenges[i])
		d.send(browser, origin, m, true)
		if i < 2 {
			w.until(t, "the use", func() bool { return left() == 1-i })
			w.until(t, "the service", w.reached)
			w.server.gate.EndLeases(func(gate.Lease) bool { return true }, true, gate.ByAdministrator)
		}
	}
	// Proofs are executed, or counted, in their order: with this one, all before it.
	port := newDialogue(t, "random-web", self4, to4).byHTTP(browser, origin, false).Port
	w.until(t, "the random port", func() bool {
		c, err := w.dialAs(self4.String())(t.Context(), "tcp", netip.AddrPortFrom(to4, port).String())
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	w.server.challenge.counting.all.Wait()
	if w.reached() || left() != 0 {
		t.Errorf("a third response has opened the service, %d left", left())
	}
	d := newDialogue(t, carriedID, self4, to4)
	if d.send(browser, origin, d.message(d.kind, d.initiator.Request()), false) != nil {
		t.Error("a challenge over HTTP")
	}
	d = newDialogue(t, carriedID, netip.Addr{}, toZone)
	m := d.message(carrier.RequestConnection, d.initiator.Request())
	for i := range m.Labels() {
		if texts := lookup(t, "udp", string(m.AppendLabel(nil, i))); len(texts) > 0 {
			t.Errorf("over DNS: %q", texts)
		}
	}
}
