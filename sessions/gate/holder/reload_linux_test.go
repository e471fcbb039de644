package holder

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"sallyport/sessions/clock"
)

// TestAsked: a request may ask for a trial, and 0 is not the same as none.
func TestAsked(t *testing.T) {
	hour, none := time.Hour, time.Duration(0)
	for _, kind := range []kind{kindReread, kindReload} {
		for _, asked := range []*time.Duration{nil, &hour, &none} {
			b, err := appendAsked(nil, kind, asked)
			if err != nil {
				t.Fatal(err)
			}
			r, err := parse(b, time.Time{})
			if err != nil || r.kind != kind || !reflect.DeepEqual(r.trial, asked) {
				t.Errorf("kind %d, %v: %+v, %v", kind, asked, r, err)
			}
			if _, err := parse(append(b, 0), time.Time{}); err == nil {
				t.Errorf("kind %d, %v: one byte more is accepted", kind, asked)
			}
		}
	}
	negative := -time.Second
	if _, err := appendAsked(nil, kindReload, &negative); err == nil {
		t.Error("a negative time is accepted")
	}
}

// TestReload: an independent holder answers a command while a server has the firewall,
// and the command gets the reason of a failure. A holder that is a child rejects it.
func TestReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	l, err := Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	h := NewHolder(Config{Claim: Unguarded, Clock: clock.System(), Log: slog.New(slog.DiscardHandler)})
	want := Reloaded{Ports: 2, Restart: true, OnTrial: []string{"ssh"}, Until: time.Unix(1_800_000_000, 0).UTC()}
	var got *time.Duration
	failed := errors.New("no such file")
	h.Reload = func(_ context.Context, asked *time.Duration) (Reloaded, error) {
		got = asked
		if asked == nil {
			return Reloaded{}, failed
		}
		return want, nil
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.Serve(ctx, l) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	dial := Dialer(path)
	server := NewDialingConn(dial, clock.System())
	if err := server.Begin(t.Context(), Digest{}); err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	hour := time.Hour
	done, err := AskReload(t.Context(), dial, &hour)
	if err != nil || !reflect.DeepEqual(done, want) || got == nil || *got != hour {
		t.Errorf("%+v, %v, asked for %v", done, err, got)
	}
	if _, err := AskReload(t.Context(), dial, nil); !errors.Is(err, ErrRefused) || got != nil {
		t.Errorf("a failure: %v", err)
	}
	if !server.Held() {
		t.Error("the server has lost the holder")
	}
	nobody := func(context.Context) (net.Conn, error) { return nil, failed }
	if _, err := AskReload(t.Context(), nobody, nil); !errors.Is(err, failed) {
		t.Errorf("no holder: %v", err)
	}
	s := session{firewall: unguarded{}, Config: Config{Clock: clock.System()}}
	reply, _, _ := s.handle([]byte{byte(kindReload)})
	if _, err := parseReply(reply, 0); !errors.Is(err, ErrRefused) {
		t.Errorf("a child reads its configuration again by command: %v", err)
	}
}
