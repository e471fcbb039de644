package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/config/configtest"
	"sallyport/sessions"
	"sallyport/sessions/clock/clocktest"
	"sallyport/verify/wire"
)

// TestClosedLeasesAreThoseOfTheList: since when, and until when.
func TestClosedLeasesAreThoseOfTheList(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	cfg, err := config.Parse("c.toml", []byte(configtest.Text(`
[[service]]
name = "web"
type = "web"
listen = "127.0.0.1:8080"
open_for = "30s"
`)))
	if err != nil {
		t.Fatal(err)
	}
	host := clocktest.NewHost()
	s := &Server{env: Env{Clock: host.Clock(), Log: slog.New(slog.DiscardHandler)}, kept: newMemoryKept().kept}
	if err := s.makeGate(cfg, plan{}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	defer s.gate.Run(ctx) // which closes
	grant := sessions.Grant{Identifier: wire.Identifier([]byte("com1")), Address: netip.MustParseAddr("192.0.2.1")}
	if err := errors.Join(s.gate.Open([]sessions.Grant{grant})...); err != nil {
		t.Fatal(err)
	}
	listed := s.leases()
	done := s.closeLeases(admin.Closing{})
	if len(listed) != 1 || len(done.Leases) != 1 {
		t.Fatalf("listed %+v, closed %+v", listed, done.Leases)
	}
	l := listed[0]
	now := host.Clock().Wall()
	if !l.Since.Equal(now.Truncate(time.Second)) || l.Until == nil || !l.Until.Equal(l.Since.Add(30*time.Second)) {
		t.Errorf("now %s, since %s, until %v", now, l.Since, l.Until)
	}
	if !reflect.DeepEqual(done.Leases, listed) {
		t.Errorf("listed %+v, closed %+v", listed, done.Leases)
	}
}
