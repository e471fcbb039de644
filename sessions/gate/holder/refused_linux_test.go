package holder_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/holder"
	"sallyport/sessions/gate/holder/holdertest"
)

// TestRefusedRequestsAreLogged: each kind of request that the configuration does not allow has
// a line, at most one a second, and the same reason one a minute; the next line has the number
// of those between.
func TestRefusedRequestsAreLogged(t *testing.T) {
	now, f := running, new(fakeFirewall)
	at := time.Unix(1_800_000_000, 0)
	now.Monotonic = func() time.Time { return at }
	var text bytes.Buffer // read when the holder has replied
	c, done := holdertest.Serve(t, holder.Config{
		Policy: oneService, Digest: holder.Digest{1}, Claim: holder.Claimed(f), Schedule: highPorts, Clock: now,
		Log: slog.New(slog.NewTextHandler(&text, nil)),
	})
	if err := c.Begin(t.Context(), holder.Digest{1}); err != nil {
		t.Fatal(err)
	}
	e := holder.NewEnforcer(c, ssh)
	expect := func(want string) {
		t.Helper()
		got := text.String()
		if text.Reset(); want == "" && got != "" || !strings.Contains(got, want) || strings.Count(got, "\n") > 1 {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	refused := func(err error) {
		t.Helper()
		if !errors.Is(err, holder.ErrRefused) {
			t.Fatalf("not refused: %v", err)
		}
	}
	grant := access.Change{Service: web, Peer: access.PeerOf(netip.MustParseAddr("192.0.2.1"), 128), Until: now.Boot().Add(time.Second)}
	grants := func() {
		for _, err := range e.Apply([]access.Change{grant}) {
			if err == nil {
				t.Fatal("not refused")
			}
		}
	}
	grants()
	expect(`level=WARN msg="request refused" error="no service has the identifier`)
	grants()
	expect("")
	at = at.Add(time.Second)
	grants() // the same reason
	expect("")
	refused(c.OpenKnockPorts([]uint16{80}, time.Second))
	expect(`error="port 80 is not a knock port now" requests=3`)
	refused(c.OpenKnockPorts([]uint16{81}, time.Second))
	expect("")
	at = at.Add(time.Minute)
	refused(c.OpenKnockPorts([]uint16{81}, time.Second))
	expect(`error="port 81 is not a knock port now" requests=2`)
	at = at.Add(time.Hour)
	f.fail = errors.New("no room")
	refused(c.OpenKnockPorts([]uint16{3000}, time.Second)) // it is allowed, and fails
	expect("")
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	<-done
}
