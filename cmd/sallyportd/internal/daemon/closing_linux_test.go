package daemon

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions"
	"sallyport/sessions/client"
	"sallyport/sessions/clock"
	"sallyport/verify"
	"sallyport/verify/wire"
)

// closing returns closing knocks of a client.
func (r *reloadable) closing(t *testing.T, id string) []client.Packet {
	t.Helper()
	r.sent += uint32(old.ports)
	packets, err := client.ClosingSequence(client.Profile{
		Server: "127.0.0.1", PortSecret: old.portSecret, Ports: old.ports, Identifier: wire.Identifier([]byte(id)), Secret: []byte(old.secret),
	}, time.Now(), r.sent)
	if err != nil {
		t.Fatal(err)
	}
	return packets
}

// deliver sends packets, and returns by how much the counters grew: the reasons of the
// verifier, and the outcomes.
func (r *reloadable) deliver(t *testing.T, packets []client.Packet) (reasons [verify.NumReasons]uint64, outcomes [sessions.NumOutcomes]uint64) {
	t.Helper()
	before, was, seen := r.ingest.Stats().Reasons, r.Sessions(), r.seen()
	for _, p := range packets {
		sendTo(t, p)
	}
	netns.Until(t, "the datagrams to be decided on", func() bool { return r.seen() >= seen+uint64(len(packets)) })
	reasons, outcomes = r.ingest.Stats().Reasons, r.Sessions()
	for i := range reasons {
		reasons[i] -= before[i]
	}
	for i := range outcomes {
		outcomes[i] -= was[i]
	}
	return reasons, outcomes
}

// TestClientCloses: closing knocks end the leases of their client, and of no neighbour at
// the same address; without a lease they are refused as any wrong MAC; a replay closes
// nothing that was opened since. A reload keeps what is known of leases.
func TestClientCloses(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	var log logText
	r := startReloadableIn(t, false, Env{Clock: clock.System(), Log: slog.New(slog.NewTextHandler(&log, nil))})
	served := func() bool {
		_, err := r.page("127.0.0.1")
		return err == nil
	}
	refused := func(what string, packets []client.Packet) {
		t.Helper()
		if reasons, _ := r.deliver(t, packets); reasons[verify.MAC] != 3 || reasons[verify.Authentic] != 0 {
			t.Errorf("%s: %v", what, reasons)
		}
	}
	refused("without a lease", r.closing(t, "left"))
	if !r.knocks(t, "left") {
		t.Fatal("not let in")
	}
	netns.Until(t, "the page", served)
	refused("a neighbour without a lease", r.closing(t, "stay"))
	if !r.knocks(t, "stay") || !served() {
		t.Error("the neighbour is not let in")
	}
	netns.Until(t, "both leases", func() bool { return len(r.gate.Leases()) == 3 })

	packets := r.closing(t, "stay")
	reasons, outcomes := r.deliver(t, packets)
	if outcomes[sessions.Closed] != 1 || outcomes[sessions.Recorded] != 2 || reasons[verify.MAC] != 0 {
		t.Errorf("the neighbour closes: %v, %v", reasons, outcomes)
	}
	netns.Until(t, "the neighbour's lease to end", func() bool { return len(r.gate.Leases()) == 2 })
	if !served() {
		t.Error("a client closes the lease of its neighbour")
	}
	// The line is written after the record, thus later than the end of the lease.
	netns.Until(t, "the line in the log", func() bool {
		return strings.Contains(log.String(), `msg="client closed its leases" client=stay address=127.0.0.1 leases=1`)
	})
	if text := log.String(); !strings.Contains(text, `reason="requested by the client"`) {
		t.Errorf("the log lacks the reason: %s", text)
	}
	// Replays, without and with a later lease.
	refused("a replay", packets)
	if !r.knocks(t, "stay") {
		t.Error("the neighbour does not get in again")
	}
	reasons, outcomes = r.deliver(t, packets)
	if outcomes[sessions.Closed] != 0 || outcomes[sessions.Replay] != 3 {
		t.Errorf("a replay: %v, %v", reasons, outcomes)
	}
	if n := len(r.gate.Leases()); n != 3 {
		t.Errorf("%d leases after a replay", n)
	}
	// Two of three knocks close nothing.
	_, outcomes = r.deliver(t, r.closing(t, "left")[:2])
	if outcomes[sessions.Recorded] != 2 || len(r.gate.Leases()) != 3 {
		t.Errorf("two knocks: %v", outcomes)
	}
	if _, err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, outcomes := r.deliver(t, r.closing(t, "left")); outcomes[sessions.Closed] != 1 {
		t.Errorf("after a reload: %v", outcomes)
	}
	netns.Until(t, "the leases to end", func() bool { return len(r.gate.Leases()) == 1 })
	r.deliver(t, r.closing(t, "stay"))
	netns.Until(t, "the service to close", func() bool { return !served() })
	refused("after all has ended", r.closing(t, "stay"))
	if !r.knocks(t, "left") {
		t.Error("not let in after a close")
	}
	netns.Until(t, "the page", served)
}

// TestLeasedMarks: the tables have the marks of clients with leases, also a table that
// comes later, and one that has gone does not stay.
func TestLeasedMarks(t *testing.T) {
	id := wire.Identifier([]byte("com1"))
	table := func() *verify.KeyTable {
		t, err := verify.NewKeyTable([]verify.Key{{Identifier: id, Secret: []byte("x")}})
		if err != nil {
			panic(err)
		}
		return t
	}
	var l leased
	first, second := table(), table()
	l.use(first)
	l.set(id, true)
	l.set(id, true) // at another service
	l.use(second)
	if !first.Leased(id) || !second.Leased(id) {
		t.Error("a table lacks a mark")
	}
	l.set(id, false)
	l.set(wire.Identifier([]byte("#abc")), true) // of an operation without a client
	l.keepOnly(second)
	if !second.Leased(id) {
		t.Error("a lease is forgotten")
	}
	l.set(id, false)
	if second.Leased(id) || !first.Leased(id) || len(l.tables) != 1 || len(l.of) != 1 {
		t.Errorf("marks %v, %v; %d tables", first.Leased(id), second.Leased(id), len(l.tables))
	}
}
