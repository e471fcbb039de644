package daemon

import (
	"testing"
	"time"

	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/clock/clocktest"
	"sallyport/sessions/fleet/roster"
	"sallyport/verify"
	"sallyport/verify/wire"
)

// TestWithdrawn: another secret withdraws the old one of a client, unless that is
// still valid, also if clients sign with a key of the gateway.
func TestWithdrawn(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	with := func(secret, previous string, until time.Duration) clients.Client {
		c := clients.Client{Identifier: wire.Identifier([]byte("com1")), Secret: []byte(secret)}
		if previous != "" {
			c.Previous, c.Until = []byte(previous), now.Add(until)
		}
		return c
	}
	own := gatewayConfig(t, "gw1")
	plain := *own.Fleet
	plain.GatewayKeys = false
	for _, fleet := range []*config.Fleet{own.Fleet, &plain} {
		cfg := *own
		cfg.Fleet = fleet
		for _, row := range []struct {
			name   string
			before clients.Client
			after  clients.Client
			want   bool
		}{
			{"the same", with("a", "", 0), with("a", "", 0), false},
			{"another secret", with("a", "", 0), with("b", "", 0), true},
			{"a rotation", with("a", "", 0), with("b", "a", time.Hour), false},
			{"a rotation that is over", with("a", "", 0), with("b", "a", -time.Second), true},
			{"the end of a rotation", with("b", "a", time.Hour), with("b", "", 0), true},
			{"after a rotation", with("b", "a", -time.Second), with("b", "", 0), false},
		} {
			p, err := newPlan(&cfg, clients.List{row.before}, now)
			if err != nil {
				t.Fatal(err)
			}
			had, _ := p.settings.Rules.Table.Secrets(row.before.Identifier)
			if got := (&Server{following: fleet}).withdrawn(had, row.after, now); got != row.want {
				t.Errorf("gateway keys %t, %s: %t", fleet.GatewayKeys, row.name, got)
			}
		}
	}
}

// TestListNeverTakesTheSelfTest: a change of a list takes no rights from the client with which
// the server tests itself, whose sessions would end.
func TestListNeverTakesTheSelfTest(t *testing.T) {
	t.Parallel()
	own := wire.Identifier([]byte("#abc"))
	table, err := verify.NewKeyTable([]verify.Key{{Identifier: own, Secret: []byte("a secret of this start")}})
	if err != nil {
		t.Fatal(err)
	}
	s, gone := &Server{env: Env{Clock: clocktest.NewHost().Clock()}}, wire.Identifier([]byte("com1"))
	for _, line := range [][]byte{nil, []byte("#abc another 0"), []byte("#abc another 0 services=web")} {
		got := s.takenAway([]roster.Change{{ID: own, Line: line}, {ID: gone}}, table)
		if _, taken := got.less[gone]; !taken || len(got.less) != 1 || len(got.expired) != 0 {
			t.Errorf("%q takes away %v", line, got)
		}
	}
}
