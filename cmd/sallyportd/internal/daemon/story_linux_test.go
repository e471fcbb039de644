package daemon

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/verify/wire"
)

// TestEndOfRotations: the end of an old secret is logged once, with its client.
func TestEndOfRotations(t *testing.T) {
	var text logText
	now := time.Unix(1_800_000_000, 0)
	s := &Server{env: Env{Log: slog.New(slog.NewTextHandler(&text, nil))}}
	s.reloads.current = &config.Config{PortSecret: config.PortSecret{Previous: "x", Until: now.Add(90 * time.Second)}}
	s.reloads.rotations = map[wire.Identifier]time.Time{
		wire.Identifier([]byte("past")): now.Add(-time.Second),
		wire.Identifier([]byte("soon")): now.Add(30 * time.Second),
	}
	w := &startWatch{checked: now}
	expected := []string{
		`msg="old secret expired" client=soon until=2027-01-15T08:00:30Z`, `msg="old port secret expired; its ports close"`, "",
	}
	for _, want := range expected {
		now = now.Add(time.Minute)
		w.logRotations(s, now)
		got := text.take()
		asExpected := strings.Contains(got, want) && (want == "") == (got == "") && strings.Count(got, "\n") <= 1
		if !asExpected {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestNamedClients: a line names a bounded number of clients.
func TestNamedClients(t *testing.T) {
	var ids []wire.Identifier
	for i := range maxNamed + 5 {
		ids = append(ids, wire.Identifier([]byte(fmt.Sprintf("c%03d", i))))
	}
	got := named(ids)
	if !strings.HasPrefix(got, "c000,c001,") || !strings.HasSuffix(got, ",c019 and 5 others") {
		t.Errorf("got %q", got)
	}
	if got := listed([]string{"a", "b", "c"}, 2); got != "a,b and 1 others" {
		t.Errorf("got %q", got)
	}
	if got := listed([]string{"a", "b"}, 2); got != "a,b" {
		t.Errorf("got %q", got)
	}
	if got := named(ids[:2]); got != "c000,c001" {
		t.Errorf("got %q", got)
	}
}
