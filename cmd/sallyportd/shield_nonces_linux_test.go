package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"sallyport/bench/netns"
)

// refused sends sequences until the shield has refused one by a rule, and checks that
// the server got none of them.
func (w *shieldWorld) refused(t *testing.T, what, counter string, v *victim, g *guest) {
	t.Helper()
	before := traffic(t, w.dir)
	from := w.address()
	netns.Until(t, what+": "+counter+" counts the knocks", func() bool {
		w.send(t, from, shieldHost, g.attempt(t).packets)
		return traffic(t, w.dir)[counter] >= before[counter]+2
	}, v.log)
	if after := traffic(t, w.dir); after["authentic"] != before["authentic"] || v.has(from) {
		t.Errorf("%s: the server accepted a knock\n%s", what, v.log())
	}
}

// at returns a guest with another record of nonces, which begins at a nonce.
func (g *guest) at(first uint32) *guest {
	other := *g
	other.nonces.Path += fmt.Sprintf(".%d", first)
	other.nonces.First = first
	return &other
}

// TestShieldNonces: the shield refuses nonces that are far above the highest one, or
// below it, also if a reload has raised that, or the record at a start.
// "client resync" lets such a client in again, once.
func TestShieldNonces(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newShieldWorld(t)
	v := startVictim(t, w.dir)
	awaitLog(t, v, `msg="shield on"`, 1)
	near := w.guests[0].at(1000)
	w.byShield(t, "at first", v, near, shieldHost)
	w.checks(t, "too far ahead", false)
	far := w.guests[0].at(1 << 30)
	w.refused(t, "too far ahead", "shield_ahead", v, far)
	w.checks(t, "client com0: the shield has refused datagrams", true)
	w.checks(t, "sallyportd client resync com0", true)

	want := "accepts any unused nonce of client com0 until its next knock, or until the server restarts."
	if out := w.run(t, "client", "resync", "com0"); !strings.Contains(out, want) {
		t.Errorf("resync prints %q", out)
	}
	w.checks(t, "too far ahead", false)
	w.run(t, "reload") // which does not end the resync
	w.byShield(t, "after the resync", v, far, shieldHost)
	w.refused(t, "after a higher nonce", "shield_below", v, near)
	w.refused(t, "once", "shield_ahead", v, w.guests[0].at(1<<31))

	w.edit(t, "clients.txt", "com1 secret-1 0", "com1 secret-1 2000000000")
	w.run(t, "reload")
	w.refused(t, "raised by a reload", "shield_below", v, w.guests[1].at(1000))
	w.byShield(t, "above the raised one", v, w.guests[1].at(2000000001), shieldHost)

	v.end(t, syscall.SIGTERM)
	v = startVictim(t, w.dir)
	awaitLog(t, v, `msg="shield on"`, 1)
	w.refused(t, "recorded", "shield_below", v, near)
	w.refused(t, "recorded", "shield_ahead", v, w.guests[0].at(1<<31+1<<20))
	w.byShield(t, "near the recorded one", v, far, shieldHost)
	v.end(t, syscall.SIGTERM)
}
