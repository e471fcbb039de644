package main

import (
	"context"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/sessions/client"
)

// TestShieldTrace: with the shield, a trace sees a clock that is off, since the ports of
// other minutes are not the shield's; and nonces that the shield refused before, which
// stay used. After the trace the shield refuses them again.
func TestShieldTrace(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newShieldWorld(t)
	v := startVictim(t, w.dir)
	awaitLog(t, v, `msg="shield on"`, 1)
	g := w.guests[0].at(100_000)
	w.byShield(t, "at first", v, g, shieldHost)
	old := w.guests[0].at(1000)
	w.refused(t, "below", "shield_below", v, old)

	ctx, stop := context.WithCancel(t.Context())
	lines, ended := make(chan admin.TraceLine, 1024), make(chan error, 1)
	conn := admin.Conn{Socket: filepath.Join(w.dir, "sallyportd.sock")}
	go func() {
		ended <- conn.Trace(ctx, admin.Trace{Identifier: "com0", Seconds: 600}, func(l admin.TraceLine) error {
			lines <- l
			return nil
		})
	}()
	if l := <-lines; !strings.Contains(l.Text, "the shield accepts any nonce of the client until its next knock") {
		t.Errorf("started: %s", l.Text)
	}
	// sendUntil sends until the trace has a line: the veth pair may lose a frame.
	sendUntil := func(what string, packets func() []client.Packet, text string) {
		t.Helper()
		from := w.address()
		netns.Until(t, what, func() bool {
			w.send(t, from, shieldHost, packets())
			select {
			case l := <-lines:
				return strings.Contains(l.Text, text) && l.Authenticated && l.Source.String() == from
			case <-time.After(50 * time.Millisecond):
				return false
			}
		}, v.log)
	}
	sendUntil("a clock that is ahead", func() []client.Packet {
		packets, err := client.Sequence(g.profile, g.now().Add(5*time.Minute), 200_000)
		if err != nil {
			t.Fatal(err)
		}
		return packets[:1]
	}, "ahead of this server's; at most 1m0s is accepted")
	sendUntil("a used nonce", func() []client.Packet { return old.attempt(t).packets }, "is below the window")
	w.byShield(t, "during the trace", v, g, shieldHost)
	w.refused(t, "below, after its next knock", "shield_below", v, old)
	stop()
	<-ended
	awaitLog(t, v, `msg="trace ended" client=com0`, 1)
	w.byShield(t, "after the trace", v, g, shieldHost)
	v.end(t, syscall.SIGTERM)
}
