package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config/configtest"
	"sallyport/sessions"
	"sallyport/sessions/clock"
	"sallyport/sessions/state"
	"sallyport/verify/wire"
)

// TestResumedCommand: the opening command of a lease from before a restart gets the reason
// "resumed", and that of a knock does not.
func TestResumedCommand(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	cfg := configtest.Parse(t, t.TempDir(), `
listen = ["127.0.0.1"]
[[service]]
name = "hook"
type = "command"
on_open = ["/bin/open"]
command_user = "www"
open_for = "1h"
open_max = "1h"
`)
	if err := state.Create(cfg.StateDir); err != nil {
		t.Fatal(err)
	}
	id := wire.Identifier([]byte("com1"))
	list := clients.List{{Identifier: id, Secret: []byte("secret of com1")}}
	for _, want := range []string{"on_open hook knock", "on_open hook resumed"} {
		programs := &fakePrograms{gone: make(chan struct{})}
		s, err := New(t.Context(), cfg, list, nil, Env{Clock: clock.System(), Log: slog.New(slog.DiscardHandler), Programs: programs})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		<-s.interrupted.opened
		if want == "on_open hook knock" {
			grant := sessions.Grant{Identifier: id, Address: netip.MustParseAddr("127.0.0.1")}
			if err := errors.Join(s.gate.Open([]sessions.Grant{grant})...); err != nil {
				t.Fatal(err)
			}
		}
		netns.Until(t, "the lease", func() bool { l := s.leases(); return len(l) == 1 && l[0].InForce })
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		var ran []string
		for _, e := range programs.recorded() {
			if strings.HasPrefix(e, "on_open ") {
				ran = append(ran, e)
			}
		}
		if !slices.Equal(ran, []string{want}) {
			t.Errorf("got %q, want %q", ran, want)
		}
	}
}
