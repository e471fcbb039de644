package daemon

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions"
	"sallyport/sessions/client"
	"sallyport/sessions/clock/clocktest"
	"sallyport/sessions/gate"
	"sallyport/sessions/state"
	"sallyport/verify"
	"sallyport/verify/wire"
)

// TestClientExpires: at its time, what the client has open ends, and its knocks are
// refused before the HMAC, and not those of another client. If the clock is set back,
// the client is one that is added: nothing is open, and knocks of before open nothing.
func TestClientExpires(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	var log logText
	host := clocktest.NewHost()
	r := startReloadableIn(t, false, Env{Clock: host.Clock(), Log: slog.New(slog.NewTextHandler(&log, nil))})
	at := host.Clock().Wall().Add(20 * time.Second).Truncate(time.Second)
	r.clients(t, fmt.Sprintf("left the-old-secret-of-a-client 0 expires=%s\nstay the-old-secret-of-a-client 0\n", at.UTC().Format(time.RFC3339)))
	if done, err := r.ReloadClients(t.Context()); err != nil || done.Clients != 2 {
		t.Fatalf("%+v, %v", done, err)
	}
	served := func() bool {
		_, err := r.page("127.0.0.1")
		return err == nil
	}
	if !r.knocks(t, "left") {
		t.Fatal("a client that expires later is not let in")
	}
	netns.Until(t, "the page", served)
	host.Step(at.Sub(host.Clock().Wall()))
	netns.Until(t, "the lease to end", func() bool { return !served() })
	netns.Until(t, "the line in the log", func() bool {
		return strings.Contains(log.String(), `msg="clients expired" clients=1 client=left`)
	})
	if n := strings.Count(log.String(), `client=left address=127.0.0.1 reason="the client has expired"`); n != 2 {
		t.Errorf("%d leases have ended with the reason, want 2: %s", n, log.String())
	}
	reasons := func() [verify.NumReasons]uint64 { return r.ingest.Stats().Reasons }
	before := reasons()
	if r.knocks(t, "left") {
		t.Error("an expired client is let in")
	}
	want := before
	want[verify.Expired] += 3
	if now := reasons(); now != want {
		t.Errorf("reasons %v, want %v", now, want)
	}
	if !r.knocks(t, "stay") {
		t.Error("another client is not let in")
	}
	netns.Until(t, "the page of the other client", served)
	if done := r.gate.EndLeases(func(gate.Lease) bool { return true }, true, gate.ByAdministrator); len(done) == 0 {
		t.Error("the other client has no lease")
	}
	// An attacker hears these, and no server accepts them.
	r.sent += 3
	heard, err := client.Sequence(client.Profile{
		Server: "127.0.0.1", PortSecret: old.portSecret, Ports: 3, Identifier: wire.Identifier([]byte("left")), Secret: []byte(old.secret),
	}, time.Now(), r.sent)
	if err != nil {
		t.Fatal(err)
	}
	host.Step(-15 * time.Second)
	netns.Until(t, "the client to be known again", func() bool {
		return slices.Contains(r.gate.Names(wire.Identifier([]byte("left"))), "web")
	})
	refused := r.Sessions()[sessions.BeforeStart]
	for _, p := range heard {
		sendTo(t, p)
	}
	netns.Until(t, "the overheard knocks to be refused", func() bool { return r.Sessions()[sessions.BeforeStart] == refused+3 })
	if served() {
		t.Error("something is open")
	}
	netns.Until(t, "the client to be let in", func() bool {
		time.Sleep(300 * time.Millisecond)
		return r.knocks(t, "left")
	})
	// An edit of the file decides at once, too.
	r.clients(t, "left the-old-secret-of-a-client 0 expires=2026-01-01T00:00:00Z\n")
	if _, err := r.ReloadClients(t.Context()); err != nil {
		t.Fatal(err)
	}
	if served() || r.knocks(t, "left") || len(r.gate.Leases()) != 0 {
		t.Error("a client that has expired by the file has something")
	}
	if n := strings.Count(log.String(), `client=left address=127.0.0.1 reason="the client has expired"`); n != 4 {
		t.Errorf("%d leases have ended with the reason, want 4: %s", n, log.String())
	}
}

// TestExpiryEndsOperations: at its time, a client loses the lease without an end that an
// operation of its has opened, on disk too, and its proofs that wait open nothing.
func TestExpiryEndsOperations(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	stateDir := t.TempDir()
	from := netip.MustParseAddr("198.51.100.2")
	expires := func(s *setup, at time.Time) {
		s.stateDir, s.list[0].Expires, s.web = stateDir, at, "open_for = \"10m\"\n"
		s.keys = `[challenge]
ports = "300-999"
capture = "sockets"
[challenge.request]
scheme = "ranges"
data_bits = 2
[challenge.response]
scheme = "ranges"
base = 640
data_bits = 2
[[operation]]
id = "hold-web"
secret = "a secret of an operation"
service = "web"
client = "com1"
open_for = "until-closed"
`
	}
	recorded := func() int {
		list, err := state.ReadKept(stateDir)
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	var at time.Time
	opens := func(w *world) command {
		op, ok := w.server.challenge.operations.Load().byID["hold-web"]
		if !ok {
			t.Fatal("there is no operation")
		}
		return op.command(proof{from: from}, w.clock.Now())
	}
	var late command
	t.Run("before its time", func(t *testing.T) {
		w := newWorld(t, func(s *setup) {
			at = time.Now().Add(time.Hour).Truncate(time.Second)
			expires(s, at)
		})
		late = opens(w)
		for _, err := range w.server.execute([]command{late}) {
			if err != nil {
				t.Fatal(err)
			}
		}
		if !w.listening() || recorded() != 1 {
			t.Fatalf("not open, or %d recorded", recorded())
		}
	})
	t.Run("at its time", func(t *testing.T) {
		w := newWorld(t, func(s *setup) { expires(s, at) })
		w.until(t, "the lease to open again", w.listening)
		w.clock.host.Step(at.Sub(w.clock.Now()))
		w.until(t, "the lease to end", func() bool { return !w.listening() && recorded() == 0 })
		if errs := w.server.execute([]command{late}); errs[0] == nil || w.listening() || recorded() != 0 {
			t.Errorf("a proof that waited opens: %v", errs)
		}
	})
}
