package state

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
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

// signed is a knock, the only one of its sequence, as an attacker captures it.
type signed struct {
	secret, nonce int
	stamp         time.Time
}

// use is a nonce of a secret.
type use struct{ secret, nonce int }

// rotation is a server with one client, whose secrets change.
type rotation struct {
	t     *testing.T
	wrong []string
	clock *clocktest.Host
	step  time.Duration
	lead  time.Duration // of the client's clock: then the timestamps alone do not protect
	cfg   Config

	current, previous int // secrets; 0: none
	until             time.Time
	next              map[int]int
	captured          []signed
	opened            map[use]bool

	store    *Store
	table    *verify.KeyTable
	sessions *sessions.Sessions
	stop     func()
	now      signed // the knock that is delivered
}

var rotated = verifytest.ID("com1")

func secretNamed(n int) []byte { return fmt.Appendf(nil, "secret %d", n) }

func (r *rotation) wall() time.Time { return r.clock.Clock().Wall() }

// keys returns the key table, and the clients for sessions.
func (r *rotation) keys() (*verify.KeyTable, []sessions.Client) {
	if r.current == 0 {
		return verifytest.Table(r.t), nil
	}
	key := verify.Key{Identifier: rotated, Secret: secretNamed(r.current), Until: r.until}
	if r.previous != 0 {
		key.Previous = secretNamed(r.previous)
	}
	table := verifytest.Table(r.t, key)
	c := sessions.Client{Identifier: rotated, Table: table.Number()}
	for _, s := range []struct {
		of  *sessions.Secret
		key verify.Secret
	}{{&c.Current, first(table.Windows(rotated))}, {&c.Previous, second(table.Windows(rotated))}} {
		s.of.Fingerprint, s.of.Floor = s.key.Fingerprint, s.key.Floor
		if r.table != nil && s.key.Fingerprint != 0 {
			s.of.Revived = table.Accepts(rotated, s.key.Fingerprint, r.wall()) &&
				!r.table.Accepts(rotated, s.key.Fingerprint, r.wall())
		}
	}
	if r.table != nil {
		if had, ok := r.table.Secrets(rotated); ok {
			c.Readded = table.Withdraws(had, rotated, r.wall())
		}
	}
	list := []sessions.Client{c}
	if err := r.store.RaiseNonces(list); err != nil {
		r.t.Fatal(err)
	}
	return table, list
}

func first(a, _ verify.Secret) verify.Secret  { return a }
func second(_, b verify.Secret) verify.Secret { return b }

func (r *rotation) start() {
	c := r.clock.Clock()
	r.cfg.Now, r.cfg.Boot = c.Wall(), c.Boot
	r.store, r.table = open(r.t, r.cfg), nil
	gap := r.store.Gap()
	table, list := r.keys()
	var err error
	if r.sessions, err = sessions.New(sessions.Config{
		Clients: list, Now: c.Boot, Gate: r, Journal: r.store, Log: slog.New(slog.DiscardHandler),
		Start: &sessions.Start{Wall: c.Wall, Fresh: gap.Fresh, NotBeforeMargin: gap.NotBeforeMargin, LostUntil: gap.LostUntil},
		Limit: sessions.Limit{Pause: 1, Burst: 1000},
	}); err != nil {
		r.t.Fatal(err)
	}
	r.table = table
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error)
	go func() { done <- r.sessions.Run(ctx) }()
	r.stop = func() { cancel(); <-done }
	r.begin()
}

func (r *rotation) begin() {
	if _, _, err := r.sessions.Begin(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rotation) end(crashes bool) {
	if crashes {
		r.cfg.Dir = crash(r.t, r.store)
	}
	r.stop()
	closeStore(r.t, r.store)
}

func (r *rotation) reload() {
	table, list := r.keys()
	commit, err := r.sessions.Prepare(list)
	if err == nil {
		err = commit(r.t.Context())
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.table = table
	r.begin()
}

// Open implements sessions.Gate.
func (r *rotation) Open([]sessions.Grant) []error {
	u := use{r.now.secret, r.now.nonce}
	if r.opened[u] {
		r.wrong = append(r.wrong, fmt.Sprintf("nonce %d of secret %d opens twice", u.nonce, u.secret))
	}
	r.opened[u] = true
	return nil
}

// deliver delivers a knock, authenticated by a table, and reports whether it opens.
func (r *rotation) deliver(s signed, table *verify.KeyTable) bool {
	datagram := verifytest.SignUnder(r.t, wire.Knock{
		Identifier: rotated, Timestamp: uint32(s.stamp.Unix()), Nonce: uint32(s.nonce),
	}, secretNamed(s.secret))
	v := verify.New(verify.Rules{Table: table, Ports: 1, Tolerance: time.Minute})
	k, reason := v.Verify(datagram, []schedule.Place{{Minute: schedule.MinuteOf(s.stamp)}}, r.wall().Unix())
	if reason != verify.Authentic {
		return false
	}
	before := r.sessions.Stats()[sessions.Opened]
	r.now = s
	r.sessions.Deliver(k, netip.MustParseAddr("192.0.2.1"))
	synctest.Wait()
	return r.sessions.Stats()[sessions.Opened] > before
}

// knock sends the next knock of the device that has a secret.
func (r *rotation) knock(secret int, held bool, table *verify.KeyTable) bool {
	s := signed{secret, r.next[secret], r.wall().Add(r.lead)}
	r.next[secret]++
	r.captured = append(r.captured, s)
	return !held && r.deliver(s, table)
}

// rotationStep is a drawn step.
type rotationStep struct {
	kind, which int
	flag        bool
}

func (r *rotation) play(steps []rotationStep) {
	pauses := []time.Duration{10, 100, 1100, 5000, 30_000, 90_000} // milliseconds
	clocks := []time.Duration{0, 0, 1, -1, 20, -20, 70, -70, 3600, -3600}
	old := r.table
	for _, s := range steps {
		switch s.kind {
		case 0, 1, 2: // the device knocks; an attacker may hold the knock back
			if r.current != 0 {
				r.knock(r.current, s.flag, r.table)
			}
		case 3: // with the old secret
			if r.previous != 0 {
				r.knock(r.previous, s.flag, r.table)
			}
		case 4, 5: // a replay, perhaps of a worker that still has an earlier table
			if len(r.captured) > 0 {
				table := r.table
				if s.flag {
					table = old
				}
				r.deliver(r.captured[len(r.captured)-1-s.which%len(r.captured)], table)
			}
		case 6:
			time.Sleep(pauses[s.which%len(pauses)] * time.Millisecond)
		case 7:
			step := clocks[s.which%len(clocks)] * time.Second
			r.clock.Step(step - r.step)
			r.step = step
		case 8: // a rotation, perhaps to a secret that the client had before
			old = r.table
			r.previous, r.current = r.current, 1+s.which%12
			r.until = r.wall().Add(time.Duration(s.which%3) * 20 * time.Second)
			if s.flag {
				r.previous = 0
			}
			r.reload()
		case 9: // revoked, or added with any secret
			old = r.table
			r.previous = 0
			if r.current == 0 || s.flag {
				r.current = 1 + s.which%12
			} else {
				r.current = 0
			}
			r.reload()
		case 10:
			r.reload()
		case 11:
			r.end(s.flag)
			r.start()
			old = r.table
		}
	}
}

// TestRotationsNeverRepeat: whatever happens to the secrets of a client, the clock
// and the server, no nonce opens twice with one secret. And a device gets in with
// each secret that is valid, when the clock has been correct for some time.
func TestRotationsNeverRepeat(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		relaxed := rapid.Bool().Draw(rt, "relaxed")
		steps := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) rotationStep {
			return rotationStep{
				rapid.IntRange(0, 11).Draw(rt, "step"), rapid.IntRange(0, 59).Draw(rt, "which"), rapid.Bool().Draw(rt, "flag"),
			}
		}), 1, 40).Draw(rt, "steps")
		lead := time.Duration(rapid.SampledFrom([]int{0, 20, 55}).Draw(rt, "lead")) * time.Second
		for _, w := range playRotation(t, relaxed, lead, steps) {
			rt.Error(w)
		}
	})
}

func playRotation(t *testing.T, relaxed bool, lead time.Duration, steps []rotationStep) (wrong []string) {
	synctest.Test(t, func(t *testing.T) {
		r := &rotation{
			t: t, clock: clocktest.NewHost(), cfg: config(t.TempDir()), current: 1, lead: lead,
			next: map[int]int{1: 5, 2: 700_000, 3: 0, 4: 30}, opened: map[use]bool{},
		}
		r.cfg.Relaxed = relaxed
		if err := Create(r.cfg.Dir); err != nil {
			t.Fatal(err)
		}
		r.start()
		r.play(steps)
		r.clock.Step(-r.step)
		r.step = 0
		time.Sleep(2*time.Minute + time.Second)
		if r.current == 0 {
			r.current = 2
			r.reload()
		}
		r.previous, r.current, r.until = r.current, 1+r.current%4, r.wall().Add(time.Hour)
		r.reload()
		time.Sleep(1100 * time.Millisecond)
		for _, secret := range []int{r.previous, r.current, r.previous} {
			if !r.knock(secret, false, r.table) {
				r.wrong = append(r.wrong, fmt.Sprintf("secret %d does not open: %v", secret, r.sessions.Stats()))
			}
		}
		r.end(false)
		wrong = r.wrong
	})
	return wrong
}

// TestRotationsByName plays cases that TestRotationsNeverRepeat rarely draws.
func TestRotationsByName(t *testing.T) {
	knock, oldKnock, replay := rotationStep{}, rotationStep{kind: 3}, rotationStep{kind: 4}
	to := func(secret int) rotationStep { return rotationStep{kind: 8, which: secret - 1} } // 0 to 40 s
	cut := func(secret int) rotationStep { return rotationStep{kind: 8, which: secret - 1, flag: true} }
	last := func(n int) rotationStep { return rotationStep{kind: 4, which: n} }
	early := func(n int) rotationStep { return rotationStep{kind: 4, which: n, flag: true} }
	wait, stop, crash := rotationStep{kind: 6, which: 2}, rotationStep{kind: 11}, rotationStep{kind: 11, flag: true}
	revoke, add := rotationStep{kind: 9}, rotationStep{kind: 9}
	many := []rotationStep{knock}
	for secret := range maxRecords + 1 {
		many = append(many, cut(secret+2), knock)
	}
	for name, steps := range map[string][]rotationStep{
		"a removed record": append(many, cut(1), last(maxRecords+1), wait, last(maxRecords+1)),
		"there and back":              {knock, wait, to(2), wait, knock, last(1), to(1), last(1), wait, last(1)},
		"there and back, and a crash": {knock, wait, cut(2), wait, knock, crash, cut(1), wait, last(1), last(0)},
		"the old secret goes on":      {knock, to(2), oldKnock, replay, wait, oldKnock, replay, stop, replay},
		"an earlier table":            {knock, cut(2), cut(1), early(0), wait, early(0)},
		"revoked and added":           {knock, revoke, add, replay, wait, replay},
		"two quick rotations":         {knock, to(2), knock, to(3), knock, last(0), last(1), last(2)},
	} {
		for _, relaxed := range []bool{false, true} {
			for _, lead := range []time.Duration{0, 55 * time.Second} {
				for _, w := range playRotation(t, relaxed, lead, steps) {
					t.Errorf("%s, relaxed %t, lead %s: %s", name, relaxed, lead, w)
				}
			}
		}
	}
}
