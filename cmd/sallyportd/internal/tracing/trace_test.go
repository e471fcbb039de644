package tracing

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/sessions"
	"sallyport/sessions/handshakes"
	"sallyport/sessions/handshakes/carried"
	"sallyport/verify"
	"sallyport/verify/wire"
)

// watch is a clock that a test sets.
type watch struct {
	mu  sync.Mutex
	now time.Time
}

func newWatch() *watch { return &watch{now: time.Unix(1000, 0)} }

func (w *watch) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *watch) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func newTrace(w *watch) *Trace {
	return New(Config{
		Wall: w.Now, Boot: w.Now, Tolerance: time.Minute,
		Services:     func(sessions.Grant) ([]string, string) { return []string{"web"}, "" },
		Expired:      func() time.Time { return time.Unix(1, 0) },
		Synchronised: func() string { return "" }, NotAllowed: func(string, netip.Addr) string { return "" },
	})
}

// happen makes an event of a kind happen, as the server reports it.
func (t *Trace) happen(k kind, from netip.Addr) {
	switch {
	case k < signed:
		t.Refused(verify.Explanation{Reason: verify.Reason(k - forged)}, from)
	case k < decided:
		t.Refused(verify.Explanation{Reason: verify.Reason(k - signed), Signed: verify.Current}, from)
	case k < granted:
		t.Decided(sessions.Decision{Outcome: sessions.Outcome(k - decided), Source: from})
	case k < incomplete:
		t.Granted(sessions.Grant{Address: from}, sessions.Outcome(k-granted), nil)
	case k == unchecked:
		t.Unchecked(verify.MAC, from)
	case k < overCarrier:
		t.Exchanged("op", handshakes.Outcome(k-exchanged), from)
	case k < proved:
		t.Carried("op", carried.Event(k-overCarrier), from)
	default:
		t.Proved("op", Proof(k-proved), from, nil)
	}
}

// drawKind draws a kind that has lines when it happens.
func drawKind(t *rapid.T, label string) kind {
	return rapid.SampledFrom(slices.DeleteFunc(allKinds(), func(k kind) bool {
		return k == incomplete || k == decided+kind(sessions.Recorded) || k == decided+kind(sessions.Opened)
	})).Draw(t, label)
}

func allKinds() (all []kind) {
	for k := range numKinds {
		all = append(all, k)
	}
	return all
}

// take returns the events that have lines so far.
func (t *Trace) take() (events []event) {
	for {
		select {
		case e := <-t.authentic:
			events = append(events, e)
		case e := <-t.others:
			events = append(events, e)
		default:
			return events
		}
	}
}

// TestBudgets: whatever happens, and however often: in no time has a kind more lines than
// its budget; each event has a line or is counted; and a flood of what any host can send
// takes no line of what is authenticated, nor does a flood of one authenticated kind take
// one of another.
func TestBudgets(t *testing.T) {
	from := netip.MustParseAddr("192.0.2.1")
	rapid.Check(t, func(t *rapid.T) {
		w := newWatch()
		quiet := newWatch()
		flooded, alone := newTrace(w), newTrace(quiet)
		watched := drawKind(t, "watched")
		for !watched.authenticated() {
			watched = drawKind(t, "watched, authenticated")
		}
		lines := map[kind][]time.Time{}
		happened, left := map[kind]uint64{}, map[kind]uint64{}
		var watchedLines, aloneLines int
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			passes := time.Duration(rapid.IntRange(0, 1500).Draw(t, "passes")) * time.Millisecond
			w.pass(passes)
			quiet.pass(passes)
			flood, n := drawKind(t, "flood"), rapid.IntRange(0, 200).Draw(t, "n")
			if flood == watched {
				n = 0
			}
			for range n {
				flooded.happen(flood, from)
			}
			happened[flood] += uint64(n)
			for range rapid.IntRange(0, 3).Draw(t, "of the client") {
				flooded.happen(watched, from)
				alone.happen(watched, from)
				happened[watched]++
			}
			for _, e := range flooded.take() {
				lines[e.kind] = append(lines[e.kind], e.at)
				left[e.kind] += e.leftOut
				if e.kind == watched {
					watchedLines++
				}
			}
			aloneLines += len(alone.take())
		}
		if watchedLines != aloneLines {
			t.Fatalf("%d lines beside a flood, %d without one", watchedLines, aloneLines)
		}
		var strange []time.Time
		others := map[kind]bool{}
		for k, at := range lines {
			inTime(t, at, burst, pause)
			if !k.authenticated() {
				strange, others[k] = append(strange, at...), true
			}
			if got := uint64(len(at)) + left[k] + flooded.budgets[k].leftOut; got != happened[k] {
				t.Fatalf("kind %d: %d lines and left out, of %d", k, got, happened[k])
			}
		}
		slices.SortFunc(strange, time.Time.Compare)
		// Of each kind, one line in rarePause is beyond the common budget.
		for i := range strange {
			for j := i; j < len(strange); j++ {
				d := strange[j].Sub(strange[i])
				most := forgedBurst + int(d/forgedPause) + len(others)*(1+int(d/rarePause))
				if n := j - i + 1; n > most {
					t.Fatalf("%d lines that any host can cause in %s, at most %d", n, d, most)
				}
			}
		}
	})
}

// TestRareForgeries: a flood of one kind that any host can cause does not hide another kind,
// as the wrong MACs of the client itself are.
func TestRareForgeries(t *testing.T) {
	w := newWatch()
	trace, from := newTrace(w), netip.MustParseAddr("192.0.2.1")
	lines := 0
	for range 300 {
		for k := range signed {
			if k != forged+kind(verify.MAC) {
				trace.happen(k, from)
			}
		}
		trace.happen(forged+kind(verify.MAC), from)
		w.pass(100 * time.Millisecond)
		for _, e := range trace.take() {
			if e.kind == forged+kind(verify.MAC) {
				lines++
			}
		}
	}
	if lines < 3 {
		t.Errorf("%d lines in 30 seconds, want 3 or more", lines)
	}
}

// inTime checks that no time has more lines than a budget permits.
func inTime(t *rapid.T, at []time.Time, burst int, pause time.Duration) {
	for i := range at {
		for j := i; j < len(at); j++ {
			if n, most := j-i+1, burst+int(at[j].Sub(at[i])/pause); n > most {
				t.Fatalf("%d lines in %s, at most %d", n, at[j].Sub(at[i]), most)
			}
		}
	}
}

// TestKinds: each kind has an event and another reason, and a text, and only the kinds
// that need a secret count as authenticated.
func TestKinds(t *testing.T) {
	w := newWatch()
	from := netip.MustParseAddr("192.0.2.1")
	seen := map[string]bool{}
	for _, k := range allKinds() {
		event, reason := k.names()
		name := fmt.Sprint(event, reason, k.authenticated())
		if seen[name] || event == "" {
			t.Errorf("kind %d: %s", k, name)
		}
		seen[name] = true
		l := newTrace(w).line(eventOf(k, from))
		if l.Text == "" || l.Event != event || l.Reason != reason || l.Authenticated != k.authenticated() {
			t.Errorf("kind %d: %+v", k, l)
		}
	}
	yes := signed.authenticated() && proved.authenticated() && incomplete.authenticated()
	if !yes || unchecked.authenticated() || forged.authenticated() || exchanged.authenticated() || overCarrier.authenticated() {
		t.Error("what is authenticated")
	}
}

func eventOf(k kind, from netip.Addr) event {
	e := event{kind: k, at: time.Unix(1000, 0), source: from, operation: "op"}
	if k < decided {
		e.refused = verify.Explanation{Reason: verify.Reason((k - forged) % kind(verify.NumReasons)), Client: true}
		if k >= signed {
			e.refused.Signed = verify.Current
		}
	}
	if k >= decided && k < granted {
		e.decided.Outcome = sessions.Outcome(k - decided)
	}
	return e
}

// TestCostsNoMemory: what any host can send allocates nothing, with a line or without.
func TestCostsNoMemory(t *testing.T) {
	w := newWatch()
	trace, from := newTrace(w), netip.MustParseAddr("192.0.2.1")
	if n := testing.AllocsPerRun(1000, func() {
		w.pass(10 * time.Millisecond)
		trace.happen(forged+kind(verify.MAC), from)
		trace.happen(signed+kind(verify.Sequence), from)
		trace.happen(exchanged+kind(handshakes.Refused), from)
		trace.happen(overCarrier+kind(carried.NotAllowed), from)
	}); n != 0 {
		t.Errorf("%g allocations", n)
	}
}

// TestRun: a reader that does not read delays nothing and loses only counted lines; the
// last line has the totals, and its time is that of the trace.
func TestRun(t *testing.T) {
	w := newWatch()
	trace, from := newTrace(w), netip.MustParseAddr("192.0.2.1")
	lines, stopped := make(chan admin.TraceLine), make(chan struct{})
	go trace.Run(t.Context(), admin.TraceLine{Event: admin.TraceStarted}, 300*time.Millisecond, lines, func() { close(stopped) })
	for range 10 * queueLength { // nothing reads
		w.pass(time.Second)
		trace.happen(signed+kind(verify.MAC), from)
	}
	if l := <-lines; l.Event != admin.TraceStarted {
		t.Errorf("first %+v", l)
	}
	var last admin.TraceLine
	var n uint64
	for l := range lines {
		if last = l; l.Event == admin.TraceRefused {
			n++
		}
	}
	<-stopped
	if last.Event != admin.TraceEnded || len(last.Totals) != 1 || last.Totals[0].Number != uint64(10*queueLength) || last.LeftOut+n != last.Totals[0].Number {
		t.Errorf("%d lines; last %+v", n, last)
	}
	// Without a reader, its context ends it.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	lines = make(chan admin.TraceLine)
	newTrace(w).Run(ctx, admin.TraceLine{}, time.Hour, lines, func() {})
	if _, more := <-lines; more {
		t.Error("a line after the end")
	}
}

// TestIncomplete: an attempt whose knocks are missing has one line, with their numbers; a
// complete one has none, and neither has one that another line explains.
// TestEndsInTime: a trace ends when its time is over, also if there is always a next line,
// as its reader is slow.
func TestEndsInTime(t *testing.T) {
	w := newWatch()
	trace := newTrace(w)
	lines, read := make(chan admin.TraceLine), 0
	var stopped atomic.Bool
	go trace.Run(t.Context(), admin.TraceLine{}, time.Millisecond, lines, func() { stopped.Store(true) })
	for range lines {
		if read++; read == 1_000_000 {
			t.Fatal("the trace does not end")
		}
		w.pass(pause)
		for k := signed; k < decided && !stopped.Load(); k++ {
			trace.happen(k, netip.Addr{})
		}
	}
	// Nothing reads.
	end := make(chan struct{})
	go newTrace(w).Run(t.Context(), admin.TraceLine{}, time.Millisecond, make(chan admin.TraceLine), func() { close(end) })
	<-end
}

func TestIncomplete(t *testing.T) {
	var a attempts
	now := time.Unix(1000, 0)
	add := func(o sessions.Outcome) { a.add(sessions.Decision{Outcome: o}, now) }
	add(sessions.Recorded)
	if list := a.overdue(now.Add(incompleteAfter - 1)); list != nil {
		t.Errorf("too early: %+v", list)
	}
	if list := a.overdue(now.Add(incompleteAfter)); len(list) != 1 || list[0].arrived != [2]uint64{1, 0} {
		t.Errorf("got %+v", list)
	}
	if list := a.overdue(now.Add(2 * incompleteAfter)); list != nil {
		t.Errorf("again: %+v", list)
	}
	for _, o := range []sessions.Outcome{sessions.Opened, sessions.RateLimited, sessions.OtherSource, sessions.OtherMinute, sessions.OtherPurpose} {
		add(sessions.Recorded)
		add(o)
		if list := a.overdue(now.Add(time.Hour)); list != nil {
			t.Errorf("%s: %+v", o, list)
		}
	}
	var l admin.TraceLine
	explainIncomplete(&l, part{maximum: 127, arrived: [2]uint64{1 << 3, 1 << 63}})
	const want = "2 of 128 knocks of an attempt arrived and are right; missing: 1, 2, 3, 5, 6, 7, 8, 9, …"
	if l.Text != want {
		t.Errorf("got %q", l.Text)
	}
}

// BenchmarkRefused is a flood in the name of the client: most of it has no line.
func BenchmarkRefused(b *testing.B) {
	w := newWatch()
	trace, from := newTrace(w), netip.MustParseAddr("192.0.2.1")
	e := verify.Explanation{Reason: verify.MAC, Knock: wire.Knock{Maximum: 2}}
	b.ReportAllocs()
	for b.Loop() {
		trace.Refused(e, from)
	}
}
