package selftest

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/client"
	"sallyport/sessions/clock/clocktest"
	"sallyport/verify"
)

// server is one that a Tester tests: it answers by what a test sets.
type server struct {
	*Tester
	host  *clocktest.Host
	log   bytes.Buffer
	load  Load
	sends int
	// open reports whether an attempt opens; nil: all do.
	open   func(sends int) bool
	unsent error
	base   uint32
	// recorder, if set, gets each attempt.
	recorder func()
}

func newServer(t *testing.T) *server {
	s := &server{host: clocktest.NewHost()}
	s.host.Step(time.Until(time.Now().Truncate(time.Minute).Add(10 * time.Second)))
	s.Tester = New(Config{
		Pace: Usual(), Clock: s.host.Clock(), Load: func() Load { return s.load },
		Log: slog.New(slog.NewTextHandler(&s.log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})),
		Sign: func(k verify.Key, _ time.Time, base uint32) ([]client.Packet, error) {
			if !Reserved(k.Identifier) || len(k.Secret) != 32 || base < s.base+nonces && s.base > 0 {
				t.Errorf("key %q, base %d after %d", k.Identifier, base, s.base)
			}
			s.base = base
			return make([]client.Packet, 3), nil
		},
		Send: func([]client.Packet, int) error {
			s.sends++
			if s.recorder != nil {
				s.recorder()
			}
			if s.unsent == nil && (s.open == nil || s.open(s.sends)) {
				s.Gate(nil, opener{}).Open([]sessions.Grant{{Identifier: s.key.Identifier, Attempt: sessions.Attempt{Base: s.base}}})
			}
			return s.unsent
		},
	})
	return s
}

type opener struct{ err error }

func (o opener) Open(sessions.Grant) error { return o.err }

// bubble runs a test with a server that tests itself.
func bubble(t *testing.T, f func(t *testing.T, s *server)) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			s.Run(ctx)
		}()
		f(t, s)
		cancel()
		<-ended
	})
}

// next waits for the end of the next test.
func (s *server) next() (Last, string) {
	s.log.Reset()
	time.Sleep(time.Minute)
	synctest.Wait()
	return s.Last(), s.log.String()
}

func TestPasses(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		time.Sleep(30*time.Second - 1)
		synctest.Wait()
		if s.sends != 0 {
			t.Error("a test before its time")
		}
		for range 3 {
			if last, log := s.next(); last.Result != Passed || last.Reason != "" || log != "" {
				t.Errorf("got %+v, %q", last, log)
			}
		}
		if s.sends != 3 || s.Sent() != 9 || s.Counts() != [NumResults]uint64{Passed: 3} {
			t.Errorf("%d attempts, %d knocks, %v", s.sends, s.Sent(), s.Counts())
		}
	})
}

// TestSecondAttempt: a knock that is lost is no miss.
func TestSecondAttempt(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		s.open = func(sends int) bool { return sends == 2 }
		if last, log := s.next(); last.Result != Passed || last.Took < 2*time.Second || log != "" || s.sends != 2 {
			t.Errorf("got %+v after %d attempts, %q", last, s.sends, log)
		}
	})
}

// TestMisses: three misses in a row stop the watchdog, once a test has passed; a test that
// passes starts it again.
func TestMisses(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		s.open = func(int) bool { return false }
		for range 4 {
			last, log := s.next()
			if last.Result != Missed || !s.Alive() || !strings.Contains(log, "level=WARN msg=\"self-test missed\" reason=\"nothing opened") {
				t.Errorf("before one has passed: %+v, alive %v, %q", last, s.Alive(), log)
			}
		}
		s.open = nil
		if last, log := s.next(); last.Result != Passed || !strings.Contains(log, "passes again") {
			t.Errorf("got %+v, %q", last, log)
		}
		s.open = func(int) bool { return false }
		for i := range 4 {
			last, log := s.next()
			if last.Result != Missed || s.Alive() != (i < 2) || last.Row != i+1 || strings.Contains(log, "level=ERROR") != (i == 2) || strings.Count(log, "\n") != 1 {
				t.Errorf("miss %d: %+v, alive %v, %q", i, last, s.Alive(), log)
			}
		}
		s.open = nil
		if _, _ = s.next(); !s.Alive() {
			t.Error("not alive after one has passed")
		}
	})
}

// TestFlood: misses with drops never stop the watchdog, however many there are.
func TestFlood(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		s.next()
		s.open = func(int) bool { s.load.Dropped++; return false }
		for range 10 {
			if last, log := s.next(); last.Result != Excused || !s.Alive() || strings.Count(log, "\n") != 1 {
				t.Errorf("got %+v, alive %v, %q", last, s.Alive(), log)
			}
		}
	})
}

// TestSlowRecord: an attempt may wait for the entries of clients, which etcd answers late. That
// is no reason to restart. A call that never ends is.
func TestSlowRecord(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		if last, log := s.next(); last.Result != Passed {
			t.Fatal(log)
		}
		s.open = func(int) bool { return false }
		takes := 7 * time.Second
		free := make(chan struct{}, 1) // the recorder
		s.recorder = func() {
			go func() {
				select {
				case free <- struct{}{}:
					defer func() { <-free }()
				default:
					return
				}
				record, open := s.Journal(&memory{takes: takes}, &memory{}), s.Gate(&memory{takes: takes / 2}, opener{})
				record.Record([]sessions.Entry{{}, {Identifier: s.key.Identifier}})
				open.Open([]sessions.Grant{{}})
			}()
		}
		for range 2 * maxMisses {
			last, log := s.next()
			if last.Result != Excused || !strings.Contains(last.Reason, "seconds to answer") || !s.Alive() {
				t.Errorf("%+v: %s", last, log)
			}
		}
		takes = time.Hour
		for range maxMisses + 1 {
			s.next()
		}
		if last := s.Last(); last.Result != Missed || s.Alive() {
			t.Errorf("a call that never ends: %+v", last)
		}
		s.recorder = nil
		time.Sleep(2 * time.Hour) // it ends
	})
}

// TestLateGrant: what a grant of an earlier test opens does not end this one.
func TestLateGrant(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		s.open = func(int) bool { return false }
		s.next()
		late := s.base
		s.open = func(sends int) bool {
			s.Tester.opened(late)
			return false
		}
		if last, _ := s.next(); last.Result != Missed {
			t.Errorf("got %+v", last)
		}
	})
}

func TestUnsent(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		s.unsent = errors.New("no such address")
		if last, log := s.next(); last.Result != Excused || !strings.Contains(log, "no such address") {
			t.Errorf("got %+v, %q", last, log)
		}
	})
}

// TestStops: Run ends with its context, also during a test, and that is no result.
func TestStops(t *testing.T) {
	bubble(t, func(t *testing.T, s *server) {
		s.open = func(int) bool { return false }
		time.Sleep(33 * time.Second)
		if s.sends == 0 || !s.Last().At.IsZero() {
			t.Errorf("%d attempts, %+v", s.sends, s.Last())
		}
	})
}

// TestWay: entries and grants of others go their way, in their order, and get their errors.
func TestWay(t *testing.T) {
	s := newServer(t)
	own := sessions.Entry{Identifier: s.key.Identifier, Secret: 7, HighestNonce: 5, Stamp: 1_700_000_000}
	other := func(n uint32) sessions.Entry { return sessions.Entry{HighestNonce: n} }
	broken, full := errors.New("broken"), errors.New("full")
	for _, row := range []struct {
		own, others error
		want        []error
	}{{nil, nil, nil}, {broken, nil, []error{nil, broken, nil}}, {nil, full, []error{full, nil, full}}, {broken, full, []error{full, broken, full}}} {
		next, local := &memory{err: row.others}, &memory{err: row.own}
		got := s.Journal(next, local).Record([]sessions.Entry{other(1), own, other(2)})
		if !slices.Equal(got, row.want) {
			t.Errorf("%+v: got %v", row, got)
		}
		if want := []sessions.Entry{other(1), other(2)}; !slices.Equal(next.entries, want) {
			t.Errorf("others: %+v", next.entries)
		}
		want := []sessions.Entry{{Identifier: recorded, Secret: recordedSecret, HighestNonce: 5, Stamp: 1}}
		if !slices.Equal(local.entries, want) {
			t.Errorf("own: %+v", local.entries)
		}
		opens := &memory{err: row.others}
		grants := []sessions.Grant{{Address: netip.IPv6Loopback()}, {Identifier: s.key.Identifier}, {}}
		if got := s.Gate(opens, opener{row.own}).Open(grants); !slices.Equal(got, row.want) {
			t.Errorf("%+v: the gate got %v", row, got)
		}
		if want := []sessions.Grant{grants[0], grants[2]}; !slices.Equal(opens.grants, want) {
			t.Errorf("others: %+v", opens.grants)
		}
	}
	next := &memory{}
	s.Journal(next, nil).Record([]sessions.Entry{other(1)})
	s.Gate(next, nil).Open([]sessions.Grant{{}})
	if len(next.entries) != 1 || len(next.grants) != 1 {
		t.Errorf("without a test: %+v", next)
	}
	if s.Journal(next, &memory{}).Record([]sessions.Entry{own}); len(next.entries) != 1 {
		t.Error("an entry of the test is in the other record")
	}
}

// memory is a journal and a gate.
type memory struct {
	err     error
	takes   time.Duration
	entries []sessions.Entry
	grants  []sessions.Grant
}

func (m *memory) Record(e []sessions.Entry) []error {
	m.entries = append(m.entries, e...)
	return m.each(len(e))
}

func (m *memory) Open(g []sessions.Grant) []error {
	m.grants = append(m.grants, g...)
	return m.each(len(g))
}

func (m *memory) each(n int) []error {
	time.Sleep(m.takes)
	if m.err == nil {
		return nil
	}
	return slices.Repeat([]error{m.err}, n)
}

func TestTargets(t *testing.T) {
	parse := func(all ...string) (list []netip.Addr) {
		for _, a := range all {
			list = append(list, netip.MustParseAddr(a))
		}
		return list
	}
	for _, row := range []struct{ listen, want []netip.Addr }{
		{nil, parse("127.0.0.1")},
		{parse("0.0.0.0"), parse("127.0.0.1")},
		{parse("::"), parse("127.0.0.1")},
		{parse("0.0.0.0", "::"), parse("127.0.0.1", "::1")},
		{parse("192.0.2.1", "::"), parse("192.0.2.1", "::1")},
		{parse("192.0.2.1", "2001:db8::1"), parse("192.0.2.1", "2001:db8::1")},
	} {
		if got := Targets(row.listen); !slices.Equal(got, row.want) {
			t.Errorf("%v: got %v, want %v", row.listen, got, row.want)
		}
	}
}

// TestOffHost: knocks for an address that this host does not have are not sent.
func TestOffHost(t *testing.T) {
	if err := Send([]client.Packet{{Port: 2000, Datagram: []byte{1}}}, netip.MustParseAddr("192.0.2.1")); err == nil {
		t.Error("sent")
	}
}

// TestKeys: each start has another key, and no clients file can have its identifier.
func TestKeys(t *testing.T) {
	a, b := newKey(), newKey()
	if bytes.Equal(a.Secret, b.Secret) || !a.Identifier.Valid() || !Reserved(a.Identifier) || !Reserved(recorded) {
		t.Errorf("%+v %+v", a.Identifier, b.Identifier)
	}
}
