package state

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"sallyport/sessions"
	"sallyport/sessions/clock/clocktest"
	"sallyport/verify"
	"sallyport/verify/schedule"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

// sent is a knock, the only one of its sequence, as an attacker overhears it.
type sent struct {
	client wire.Identifier
	nonce  uint32
	at     time.Time     // the correct time
	lead   time.Duration // of the client's clock
	opened bool
}

// host runs a server from time to time. It has clients, and an on-path attacker
// that overhears all their knocks, delays them and replays them at any time. Time
// is the bubble's; the clock of the host is stepped.
type host struct {
	t     *testing.T
	wrong []string // errors found
	clock *clocktest.Host
	step  time.Duration // by how much the wall clock is ahead of the correct time
	cfg   Config
	table *verify.KeyTable
	leads map[wire.Identifier]time.Duration
	next  map[wire.Identifier]uint32
	heard []*sent
	full  bool // the disk is full

	store    *Store // nil: no server runs
	sessions *sessions.Sessions
	stop     func()
	since    map[wire.Identifier]time.Time // the server receives all knocks of a client since then
	now      *sent                         // the knock that is delivered
}

// start starts a server.
func (h *host) start() {
	c := h.clock.Clock()
	h.cfg.Now, h.cfg.Boot = c.Wall(), c.Boot
	h.store = open(h.t, h.cfg)
	gap := h.store.Gap()
	var err error
	if h.sessions, err = sessions.New(sessions.Config{
		Clients: h.clients(), Now: c.Boot, Gate: h, Journal: h, Log: slog.New(slog.DiscardHandler),
		Start: &sessions.Start{
			Wall: c.Wall, Fresh: gap.Fresh, NotBeforeMargin: gap.NotBeforeMargin, LostUntil: gap.LostUntil,
		},
		Limit: sessions.Limit{Pause: 1, Burst: 1000},
	}); err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(h.t.Context())
	done := make(chan error)
	go func() { done <- h.sessions.Run(ctx) }()
	h.stop = func() { cancel(); <-done }
	known := h.leads
	if gap.Fresh {
		known = nil // from the beginning
	}
	h.begin(known)
}

func (h *host) begin(ids map[wire.Identifier]time.Duration) {
	if _, _, err := h.sessions.Begin(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	for id := range ids {
		h.since[id] = time.Now()
	}
}

func (h *host) clients() (list []sessions.Client) {
	for id := range h.leads {
		current, _ := h.table.Windows(id)
		list = append(list, sessions.Client{
			Identifier: id, Current: sessions.Secret{Fingerprint: current.Fingerprint, Floor: current.Floor},
		})
	}
	if err := h.store.RaiseNonces(list); err != nil {
		h.t.Fatal(err)
	}
	return list
}

// end stops the server, or crashes it, which loses the entries not on disk.
func (h *host) end(crashes bool) {
	if crashes {
		h.cfg.Dir = crash(h.t, h.store)
	}
	h.stop()
	h.full = false
	closeStore(h.t, h.store)
	h.store = nil
}

// again revokes a client and adds it again.
func (h *host) again(id wire.Identifier) {
	for _, list := range [][]sessions.Client{h.without(id), h.clients()} {
		commit, err := h.sessions.Prepare(list)
		if err == nil {
			err = commit(h.t.Context())
		}
		if err != nil {
			h.t.Fatal(err)
		}
	}
	h.begin(map[wire.Identifier]time.Duration{id: 0})
}

func (h *host) without(id wire.Identifier) (list []sessions.Client) {
	for _, c := range h.clients() {
		if c.Identifier != id {
			list = append(list, c)
		}
	}
	return list
}

// Record implements sessions.Journal.
func (h *host) Record(entries []sessions.Entry) []error {
	if h.full {
		return slices.Repeat([]error{errors.New("no room")}, len(entries))
	}
	return h.store.Record(entries)
}

func (h *host) fail(format string, args ...any) {
	h.wrong = append(h.wrong, fmt.Sprintf(format, args...))
}

// Open implements sessions.Gate. It checks each grant.
func (h *host) Open(grants []sessions.Grant) []error {
	s, now := h.now, time.Now()
	switch {
	case s.opened:
		h.fail("nonce %d of %s opens twice", s.nonce, s.client)
	case !s.at.After(h.since[s.client]) && s.lead <= h.step:
		h.fail("the knock that %s sent at %s opens at %s; the server receives all since %s",
			s.client, s.at, now, h.since[s.client])
	}
	s.opened = true
	return nil
}

// deliver delivers a knock to the server, and reports whether it opens something.
func (h *host) deliver(s *sent, from string) bool {
	if h.store == nil {
		return false
	}
	stamp := s.at.Add(s.lead)
	datagram := verifytest.Sign(h.t, wire.Knock{Identifier: s.client, Timestamp: uint32(stamp.Unix()), Nonce: s.nonce})
	v := verify.New(verify.Rules{Table: h.table, Ports: 1, Tolerance: time.Minute})
	k, reason := v.Verify(datagram, []schedule.Place{{Minute: schedule.MinuteOf(stamp)}}, h.clock.Clock().Wall().Unix())
	if reason != verify.Authentic {
		return false
	}
	before := h.sessions.Stats()[sessions.Opened]
	h.now = s
	h.sessions.Deliver(k, netip.MustParseAddr(from))
	synctest.Wait()
	return h.sessions.Stats()[sessions.Opened] > before
}

// knock sends the next knock of a client, which the attacker may hold back.
func (h *host) knock(id wire.Identifier, held bool) bool {
	s := &sent{client: id, nonce: h.next[id], at: time.Now(), lead: h.leads[id]}
	h.next[id]++
	h.heard = append(h.heard, s)
	return !held && h.deliver(s, "192.0.2.1")
}

// TestStartsAreGaps starts, stops and crashes a server, loses its disk and steps
// its clock, in any order. No nonce opens twice. No knock opens that a client sent
// before the server received all its knocks, unless the client's clock is ahead of
// the server's. And when the host's clock has been correct for some time, clients
// whose clocks are correct get in.
func TestStartsAreGaps(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		// Draw and report outside of the bubble: rapid stops a check by a panic.
		d := draws{
			loses:   rapid.Bool().Draw(rt, "loses its state"),
			relaxed: rapid.Bool().Draw(rt, "relaxed"),
			lead:    time.Duration(rapid.IntRange(-50, 50).Draw(rt, "lead")) * time.Second,
			err:     time.Duration(rapid.IntRange(-40, 40).Draw(rt, "error")) * time.Second,
			steps: rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) draw {
				return draw{
					kind: rapid.IntRange(0, 8).Draw(rt, "step"), which: rapid.IntRange(0, 99).Draw(rt, "which"),
					first: rapid.Bool().Draw(rt, "first"), second: rapid.Bool().Draw(rt, "second"),
				}
			}), 1, 30).Draw(rt, "steps"),
		}
		var wrong []string
		synctest.Test(t, func(t *testing.T) { wrong = d.play(t) })
		for _, w := range wrong {
			rt.Error(w)
		}
	})
}

// draws are the drawn values of a test.
type draws struct {
	// If the whole record may get lost, no clock is stepped: then the server cannot
	// know what it accepted while its clock was ahead.
	loses, relaxed bool
	lead           time.Duration // of one client's clock
	err            time.Duration // of the host's clock, if it is not stepped
	steps          []draw
}

type draw struct {
	kind, which   int
	first, second bool
}

func (d draws) play(t *testing.T) (wrong []string) {
	ids := [...]wire.Identifier{verifytest.ID("rite"), verifytest.ID("fast")}
	h := &host{
		t: t, clock: clocktest.NewHost(), cfg: config(t.TempDir()),
		table: verifytest.Table(t, verifytest.Client(ids[0]), verifytest.Client(ids[1])),
		leads: map[wire.Identifier]time.Duration{ids[0]: 0, ids[1]: d.lead},
		next:  map[wire.Identifier]uint32{}, since: map[wire.Identifier]time.Time{},
	}
	h.cfg.Relaxed = d.relaxed
	if err := Create(h.cfg.Dir); err != nil {
		t.Fatal(err)
	}
	set := func(step time.Duration) { h.clock.Step(step - h.step); h.step = step }
	if d.loses {
		set(d.err)
	}
	h.start()
	pauses := []time.Duration{10, 100, 700, 5000, 30_000, 90_000} // milliseconds
	steps := []time.Duration{0, 0, 1, -1, 20, -20, 70, -70, 3600, -3600}
	for _, s := range d.steps {
		id := ids[s.which%2]
		switch s.kind {
		case 0, 1, 2:
			h.knock(id, s.first)
		case 3, 4:
			if len(h.heard) > 0 {
				h.deliver(h.heard[len(h.heard)-1-s.which%len(h.heard)], "192.0.2.66")
			}
		case 5:
			time.Sleep(pauses[s.which%len(pauses)] * time.Millisecond)
		case 6:
			if !d.loses {
				set(steps[s.which%len(steps)] * time.Second)
			}
		case 7:
			switch {
			case h.store == nil:
				h.start()
			case s.first:
				h.again(id)
			default:
				h.full = s.second
			}
		case 8:
			if h.store == nil {
				h.start()
				break
			}
			h.end(s.first)
			if d.loses && s.second {
				os.Remove(filepath.Join(h.cfg.Dir, FileName))
			}
		}
	}
	if h.store == nil {
		h.start()
	}
	h.full = false
	set(0)
	time.Sleep(2*time.Minute + time.Second)
	for _, id := range ids {
		if h.leads[id].Abs() <= time.Minute && !h.knock(id, false) {
			h.fail("the server refuses %s after two minutes: %+v, %v", id, h.store.Gap(), h.sessions.Stats())
		}
	}
	h.end(false)
	return h.wrong
}

// TestStartsByName runs cases that TestStartsAreGaps rarely draws.
func TestStartsByName(t *testing.T) {
	knock := func(which int) draw { return draw{kind: 0, which: which} }
	held := func(which int) draw { return draw{kind: 0, which: which, first: true} }
	play := draw{kind: 3} // replays the latest knock
	clock := func(which int) draw { return draw{kind: 6, which: which} }
	wait := draw{kind: 5, which: 3} // five seconds
	stop, crash, loss, start := draw{kind: 8}, draw{kind: 8, first: true}, draw{kind: 8, second: true}, draw{kind: 8}
	const behind, right, ahead = 9, 0, 8
	for name, d := range map[string]draws{
		// A knock of a client whose clock is as wrong makes the server read its clock.
		"a clock that is behind at the start": {lead: -time.Hour, steps: []draw{
			stop, held(0), clock(behind), start, knock(1), clock(right), {kind: 3, which: 1},
		}},
		"a clock that is behind at a start after a crash": {relaxed: true, steps: []draw{
			knock(0), knock(0), crash, clock(behind), start, clock(right), play,
		}},
		"a clock that is ahead at a start after a crash": {relaxed: true, steps: []draw{
			knock(0), crash, clock(ahead), start, clock(right), wait, knock(0), play,
		}},
		"a client's clock ahead, and a crash": {relaxed: true, lead: 50 * time.Second, steps: []draw{
			knock(1), knock(1), crash, start, play, wait, play, stop, start, wait, play,
		}},
		"a client's clock ahead, and a loss": {loses: true, lead: 50 * time.Second, steps: []draw{
			knock(1), loss, start, wait, play, stop, start, wait, play,
		}},
		"a full disk, and a restart": {steps: []draw{
			{kind: 7, second: true}, knock(0), stop, start, play, wait, play,
		}},
		"a client that comes again": {steps: []draw{
			knock(0), held(0), {kind: 7, first: true}, play, wait, play,
		}},
	} {
		var wrong []string
		synctest.Test(t, func(t *testing.T) { wrong = d.play(t) })
		for _, w := range wrong {
			t.Errorf("%s: %s", name, w)
		}
	}
}
