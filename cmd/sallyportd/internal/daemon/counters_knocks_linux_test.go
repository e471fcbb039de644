package daemon

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/metrics"
	"sallyport/sessions"
	"sallyport/sessions/client"
	"sallyport/verify/wire"
)

// TestKnocksMoveTheirSamples: real knocks for each outcome that depends on knocks alone move
// its sample. Others require a full disk, another gateway, a restart or a full queue: the
// tests of package sessions have these.
func TestKnocksMoveTheirSamples(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	const one, another = "198.51.100.2", "198.51.100.3"
	type part struct {
		from    string
		packets []client.Packet
	}
	now := func(w *world) time.Time { return w.clock.Now() }
	var w *world
	sequence := func(make func(client.Profile, time.Time, uint32) ([]client.Packet, error), id string, at time.Time, base uint32) []client.Packet {
		t.Helper()
		packets, err := make(w.profile(id, server4), at, base)
		if err != nil {
			t.Fatal(err)
		}
		return packets
	}
	rows := []struct {
		outcome sessions.Outcome
		parts   func(id string) []part // of a client for itself, so that no row disturbs another
	}{
		{sessions.Opened, func(id string) []part { return []part{{one, sequence(client.Sequence, id, now(w), 30)}} }},
		{sessions.Replay, func(id string) []part {
			all := sequence(client.Sequence, id, now(w), 30)
			return []part{{one, all}, {another, all[1:2]}}
		}},
		{sessions.OtherSource, func(id string) []part {
			all := sequence(client.Sequence, id, now(w), 30)
			return []part{{one, all[:1]}, {another, all[1:2]}}
		}},
		{sessions.OtherMinute, func(id string) []part {
			before := now(w).Truncate(time.Minute).Add(-5 * time.Second)
			return []part{{one, sequence(client.Sequence, id, now(w), 30)[:1]}, {one, sequence(client.Sequence, id, before, 30)[1:2]}}
		}},
		{sessions.OtherPurpose, func(id string) []part {
			opens, closes := sequence(client.Sequence, id, now(w), 60), sequence(client.ClosingSequence, id, now(w), 60)
			return []part{{one, sequence(client.Sequence, id, now(w), 30)}, {one, opens[:1]}, {one, closes[1:2]}}
		}},
		{sessions.Closed, func(id string) []part {
			return []part{{one, sequence(client.Sequence, id, now(w), 30)}, {one, sequence(client.ClosingSequence, id, now(w), 60)}}
		}},
		{sessions.Older, func(id string) []part { // it shares nonces with the one before
			return []part{{one, sequence(client.Sequence, id, now(w), 30)[:1]}, {one, sequence(client.Sequence, id, now(w), 31)[:1]}}
		}},
		{sessions.RateLimited, func(id string) (all []part) {
			for i := range uint32(40) {
				all = append(all, part{one, sequence(client.Sequence, id, now(w), 30+3*i)})
			}
			return all
		}},
	}
	w = newWorld(t, func(s *setup) {
		s.keys, s.web = "kernel_filter = false", "open_for = \"1m\""
		for i := range rows {
			id := fmt.Sprintf("row%d", i)
			s.list = append(s.list, clients.Client{Identifier: wire.Identifier([]byte(id)), Secret: []byte("secret of " + id)})
		}
	})
	text := metrics.New(w.server.status).Text
	decided := func() (n uint64) {
		all := w.server.sessions.Stats()
		for o, count := range all {
			if sessions.Outcome(o) != sessions.Failed { // it is counted as Opened, too
				n += count
			}
		}
		return n
	}
	for i, row := range rows {
		id := fmt.Sprintf("row%d", i)
		before := w.server.sessions.Stats()[row.outcome]
		for _, p := range row.parts(id) {
			want := decided() + uint64(len(p.packets))
			w.send(t, p.from, server4, p.packets)
			// One after the other, and a lease before its end is asked for.
			w.until(t, fmt.Sprintf("the knocks of %s are decided", row.outcome), func() bool { return decided() >= want })
		}
		after := w.server.sessions.Stats()[row.outcome]
		if after == before {
			t.Errorf("%s: no knock has this outcome: %v", row.outcome, w.server.sessions.Stats())
		}
		var b bytes.Buffer
		if err := text(&b); err != nil {
			t.Fatal(err)
		}
		sample := fmt.Sprintf("\n%s{outcome=%q} %d\n", metrics.Knocks, row.outcome, after)
		if !bytes.Contains(b.Bytes(), []byte(sample)) {
			t.Errorf("%s: no sample%s", row.outcome, sample)
		}
	}
}
