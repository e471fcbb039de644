package sessions

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/verify/verifytest"
)

// TestDenialsAreLogged: an authenticated knock that the server does not obey has a line with
// its reason, once a second for each client. The next line has the number of those between.
// A flood of them allocates nothing.
func TestDenialsAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := verifytest.New(t, 1, "com1", "com2", "gone")
		var text bytes.Buffer
		s := newTestShard(gateFunc(func(Grant) error { return nil }))
		s.limit = Limit{Pause: time.Hour, Burst: 1}
		s.recorder.log = slog.New(slog.NewTextHandler(&text, nil))
		s.replace(withSecrets([]Client{{Identifier: verifytest.ID("com1")}, {Identifier: verifytest.ID("com2")}}))
		lines := func() (all []string) {
			s.recorder.drain()
			for line := range strings.Lines(text.String()) {
				if _, line, ok := strings.Cut(line, "knock denied\" "); ok {
					all = append(all, strings.TrimSpace(line))
				}
			}
			text.Reset()
			return all
		}
		expect := func(want ...string) {
			t.Helper()
			if got := lines(); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		knock := func(id string, base uint32) { s.handle(arrival{f.Knock(t, id, minute, base, 0), alice}) }
		knock("com1", 0)
		expect()
		knock("com1", 1)
		expect("client=com1 address=192.0.2.1 reason=rate_limited knocks=1")
		for range 7 {
			knock("com1", 1)
		}
		knock("com2", 1)
		knock("com2", 1)
		expect("client=com2 address=192.0.2.1 reason=replay knocks=1")
		time.Sleep(denialPause)
		knock("com1", 1)
		expect("client=com1 address=192.0.2.1 reason=replay knocks=8")
		knock("gone", 1)
		knock("gone", 2)
		expect("client=gone address=192.0.2.1 reason=unknown knocks=1")
		again := f.Knock(t, "com1", minute, 1, 0)
		n := testing.AllocsPerRun(1000, func() {
			s.handle(arrival{again, alice})
			time.Sleep(time.Millisecond)
		})
		if n > 0.5 {
			t.Errorf("%v allocations for a replay", n)
		}
		if got := len(lines()); got != 1 {
			t.Errorf("%d lines in a second", got)
		}
	})
}

// TestUnrecordedAndUsedElsewhereAreLogged: for each attempt.
func TestUnrecordedAndUsedElsewhereAreLogged(t *testing.T) {
	for _, row := range []struct {
		err    error
		reason string
	}{{errors.New("disk full"), "unrecorded"}, {ErrUsed, "used_elsewhere"}} {
		f := verifytest.New(t, 1, "com1")
		var text bytes.Buffer
		s := newTestShard(gateFunc(func(Grant) error { t.Error("opened"); return nil }))
		s.recorder.log = slog.New(slog.NewTextHandler(&text, nil))
		s.recorder.journal = journalFunc(func([]Entry) error { return row.err })
		s.replace(withSecrets([]Client{{Identifier: verifytest.ID("com1")}}))
		s.handle(arrival{f.Knock(t, "com1", minute, 0, 0), alice})
		s.recorder.drain()
		if !strings.Contains(text.String(), "msg=\"knock denied\" client=com1 address=192.0.2.1 reason="+row.reason+" ") {
			t.Errorf("%s: %s", row.reason, text.String())
		}
	}
}
