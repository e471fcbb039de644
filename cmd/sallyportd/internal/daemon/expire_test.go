package daemon

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/config/configtest"
	"sallyport/verify"
	"sallyport/verify/wire"
)

// TestExpiriesAreInOrder: as many as a search of the whole list finds, in any order of
// the file.
func TestExpiriesAreInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := func(n int) time.Time { return time.Unix(1_800_000_000+int64(n), 0) }
		var list clients.List
		for i, n := range rapid.SliceOfN(rapid.IntRange(-1, 10), 0, 30).Draw(t, "times") {
			c := clients.Client{Identifier: wire.Identifier([]byte(fmt.Sprintf("c%03d", i)))}
			if n >= 0 {
				c.Expires = at(n)
			}
			list = append(list, c)
		}
		now := at(rapid.IntRange(0, 11).Draw(t, "now")).Add(time.Duration(rapid.IntRange(-1, 1).Draw(t, "off")))
		want := map[wire.Identifier]bool{}
		for _, c := range list {
			if c.Expired(now) {
				want[c.Identifier] = true
			}
		}
		over := expiriesOf(list).until(now)
		for _, id := range over.names() {
			if !want[id] {
				t.Fatalf("%s has not expired", id)
			}
			delete(want, id)
		}
		if len(want) > 0 {
			t.Fatalf("%v have expired", want)
		}
	})
}

// TestWarningOfExpiry: from a week before, once a day, whatever is set meanwhile; not of
// clients that have expired.
func TestWarningOfExpiry(t *testing.T) {
	var text logText
	now, boot := time.Unix(1_800_000_000, 0), time.Unix(1000, 0)
	s := &Server{env: Env{Log: slog.New(slog.NewTextHandler(&text, nil))}}
	s.reloads.expiries = expiriesOf(clients.List{
		{Identifier: wire.Identifier([]byte("late")), Expires: now.Add(9 * 24 * time.Hour)},
		{Identifier: wire.Identifier([]byte("soon")), Expires: now.Add(8 * 24 * time.Hour)},
		{Identifier: wire.Identifier([]byte("past")), Expires: now.Add(-time.Hour)},
	})
	w := &startWatch{}
	lines := 0
	for minute := range 11 * 24 * 60 {
		w.logExpiring(s, now.Add(time.Duration(minute)*time.Minute), boot.Add(time.Duration(minute)*time.Minute))
		got := text.take()
		if got == "" {
			continue
		}
		lines++
		want := `clients=2 client=late,soon expires=2027-01-23T08:00:00Z`
		if day := minute / (24 * 60); day < 2 {
			want = `clients=1 client=soon expires=2027-01-23T08:00:00Z`
		} else if day == 8 {
			want = `clients=1 client=late expires=2027-01-24T08:00:00Z`
		}
		if minute%(24*60) != 0 || !strings.Contains(got, `level=WARN msg="clients expire soon" `+want) {
			t.Errorf("after %d minutes: %s, want %s", minute, got, want)
		}
	}
	if lines != 8 { // days 1 to 8
		t.Errorf("%d lines", lines)
	}
}

// TestExpiredInAPlan: an expired client has no session, no right, no operation and, after
// a restart, no lease without an end.
func TestExpiredInAPlan(t *testing.T) {
	cfg, err := config.Parse("c.toml", []byte(configtest.Text(`
[challenge]
[[service]]
name = "web"
type = "web"
listen = "127.0.0.1:8080"
[[operation]]
id = "hold-web"
secret = "a secret of an operation"
service = "web"
client = "com1"
open_for = "until-closed"
`)))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_800_000_000, 0)
	id, from := wire.Identifier([]byte("com1")), netip.MustParseAddr("192.0.2.7")
	list := clients.List{
		{Identifier: id, Secret: []byte("x"), Expires: at},
		{Identifier: wire.Identifier([]byte("com2")), Secret: []byte("x"), Services: "web"},
	}
	before, err := newPlan(cfg, list, at.Add(-1))
	if err != nil {
		t.Fatal(err)
	}
	op := before.operations.byID["hold-web"]
	if len(before.slots) != 2 || before.expired != 0 || !op.allows(from, at.Add(-1)) || op.allows(from, at) {
		t.Errorf("before its time: %d sessions, %d expired", len(before.slots), before.expired)
	}
	if _, limited := before.restricted[id]; limited {
		t.Error("restricted before its time")
	}
	lease := op.keep(from, nil, at.Add(-time.Hour)).Kept
	if reason := before.operations.refuses(lease); reason != "" {
		t.Errorf("its lease is refused before its time: %s", reason)
	}
	after, err := newPlan(cfg, list, at)
	if err != nil {
		t.Fatal(err)
	}
	services, limited := after.restricted[id]
	if !limited || len(services) != 0 || !after.isClient[id] {
		t.Errorf("after its time: rights %v, %v", services, limited)
	}
	if len(after.slots) != 1 || after.slots[0].Identifier == id || after.expired != 1 {
		t.Errorf("after its time: sessions %+v, %d expired", after.slots, after.expired)
	}
	if reason := after.operations.refuses(lease); reason == "" {
		t.Error("its lease would open again")
	}
	want := []string{`operation "hold-web" is disabled: client com1 expired at 2027-01-15T08:00:00Z`}
	if !slices.Equal(after.operations.unusable, want) {
		t.Errorf("unusable: %q", after.operations.unusable)
	}
}

// TestMissingClientExpires: a client that is missing from the file, and waits, loses
// what it has at its time, and not before.
func TestMissingClientExpires(t *testing.T) {
	var m missing
	at := time.Unix(1_800_000_000, 0)
	id := wire.Identifier([]byte("com1"))
	m.add(id, verify.Secrets{}, at, at.Add(-time.Hour))
	m.add(wire.Identifier([]byte("com2")), verify.Secrets{}, time.Time{}, at.Add(-time.Hour))
	if over := m.expired(at.Add(-1)); len(over) != 0 {
		t.Errorf("before its time: %v", over)
	}
	if over := m.expired(at); len(over) != 1 || !over[id] || m.has(id) || len(m.of) != 1 {
		t.Errorf("at its time: %v, left %v", over, m.of)
	}
}
