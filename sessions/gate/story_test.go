package gate

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/sessions/clock/clocktest"
	"sallyport/verify/wire"
)

// TestLogOfLeases: the log has each beginning, extension and end of a lease, with
// the client, its address and the reason.
func TestLogOfLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
				return slog.Attr{}
			}
			return a
		}}))
		host := clocktest.NewHost()
		s := NewService(ServiceConfig{
			Name: "web", PrefixLen6: 64, Clock: host.Clock(), Log: log,
			Policy: LeasePolicy{OpenFor: 10 * time.Second, OpenMax: 15 * time.Second, Addresses: 2},
		})
		all, err := NewServices([]*Service{s}, nil)
		if err != nil {
			t.Fatal(err)
		}
		expect := func(what string, lines ...string) {
			t.Helper()
			synctest.Wait()
			s.mu.Lock()
			defer s.mu.Unlock()
			want := ""
			for _, line := range lines {
				want += "msg=" + line + "\n"
			}
			if got := strings.ReplaceAll(out.String(), " service=web", ""); got != want {
				t.Errorf("%s: got\n%s\nwant\n%s", what, got, want)
			}
			out.Reset()
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		s.Open(grant("com1", "192.0.2.1"))
		expect("begin", "opened client=com1 address=192.0.2.1 for=10s until=2000-01-01T00:00:10Z")
		s.Open(grant("com1", "192.0.2.1"))
		expect("extend", "extended client=com1 address=192.0.2.1 for=15s until=2000-01-01T00:00:15Z")
		s.Execute(Command{Grant: grant("com1", "192.0.2.1"), For: time.Second})
		expect("no change")
		s.Open(grant("com2", "192.0.2.1"))
		expect("another client", "opened client=com2 address=192.0.2.1 for=10s until=2000-01-01T00:00:10Z")
		time.Sleep(20 * time.Second)
		expect("time", "closed client=com2 address=192.0.2.1 reason=expired", "closed client=com1 address=192.0.2.1 reason=expired")
		for _, address := range []string{"192.0.2.1", "192.0.2.2", "2001:db8::7"} {
			s.Open(grant("com1", address))
		}
		expect("displaced", "opened client=com1 address=192.0.2.1 for=10s until=2000-01-01T00:00:30Z",
			"opened client=com1 address=192.0.2.2 for=10s until=2000-01-01T00:00:30Z",
			"opened client=com1 address=2001:db8::7 for=10s until=2000-01-01T00:00:30Z",
			"closed client=com1 address=192.0.2.1 reason=\"displaced by a newer lease of the client\"")
		s.Execute(Command{Grant: grant("com1", "192.0.2.2"), Action: Close})
		expect("close", "closed client=com1 address=192.0.2.2 reason=\"requested by the client\"")
		all.Revoke(func(id wire.Identifier) bool { return id == client(1) }, Revoked)
		expect("revoke", "closed client=com1 address=2001:db8::/64 reason=revoked")
		s.Open(grant("com1", "192.0.2.3"))
		expect("before the client expires", "opened client=com1 address=192.0.2.3 for=10s until=2000-01-01T00:00:30Z")
		all.Revoke(func(id wire.Identifier) bool { return id == client(1) }, ClientExpired)
		expect("expire", "closed client=com1 address=192.0.2.3 reason=\"the client has expired\"")
		s.Open(grant("com2", "fe80::1%2"))
		expect("link-local", "opened client=com2 address=fe80::1%2 for=10s until=2000-01-01T00:00:30Z")
		all.EndAll()
		expect("holder", "closed client=com2 address=fe80::1%2 reason=\"holder lost\"")
		s.Open(grant("com2", "192.0.2.9"))
		expect("before the end", "opened client=com2 address=192.0.2.9 for=10s until=2000-01-01T00:00:30Z")
		stop()
		<-done
		expect("end", "closed client=com2 address=192.0.2.9 reason=\"server stops\"")
	})
}
