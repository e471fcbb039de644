package daemon

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions"
	"sallyport/sessions/client"
	"sallyport/verify"
)

// clockWorld is a server whose host is suspended, and whose clock is set, at any moment, and
// a model of what clients have open.
type clockWorld struct {
	*world
	t     *testing.T
	rand  *rand.Rand
	until map[string]time.Time // of leases, by the clock that counts
	heard []heard
	base  uint32
	steps uint64
}

// heard is a sequence that an attacker has heard.
type heard struct {
	stamp   time.Time
	packets []client.Packet
}

const openFor = 10 * time.Minute

// clockSlack is how much time may pass while this test compares the model with the server.
const clockSlack = time.Minute

// TestClocks: whatever happens to the clocks, leases end when their time is over, suspended
// time included, and not before; a client that knocks gets in; and no sequence opens twice,
// even if the clock is set back to its time, nor after a restart.
func TestClocks(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := &clockWorld{
		world: newWorld(t, func(s *setup) { s.keys, s.web = "resume_leases = false", "open_for = \"10m\"\nopen_max = \"10m\"" }),
		t:     t, rand: rand.New(rand.NewPCG(1, 0)), until: map[string]time.Time{}, base: 100,
	}
	w.knock()
	for i := range 40 {
		do := [...]func(){w.knock, w.knock, w.step, w.step, w.suspend, w.pass, w.replay, w.replay, w.restart}
		do[w.rand.IntN(len(do))]()
		w.compare(i)
	}
	w.knock()
	w.restart()
	w.knock()
	w.sleep(2 * openFor)
	w.until = map[string]time.Time{}
	w.compare(-1)
}

func (w *clockWorld) boot() time.Time { return w.clock.host.Clock().Boot() }

// leases returns how many leases there are.
func (w *clockWorld) leases() int { return w.server.gate.Loads()[0].Leases }

// compare compares the leases with the model.
func (w *clockWorld) compare(i int) {
	w.t.Helper()
	count := func(at time.Time) (n int) {
		for _, until := range w.until {
			if until.After(at) {
				n++
			}
		}
		return n
	}
	// A sequence is counted as one that opens before the gate has opened. A lease that has
	// ended too early does not come back.
	when := fmt.Sprintf("all leases of operation %d that have not ended", i)
	w.world.until(w.t, when, func() bool { return w.leases() >= count(w.boot().Add(clockSlack)) })
	w.world.until(w.t, "the leases to end", func() bool { return w.leases() <= count(w.boot()) })
	w.world.until(w.t, "the steps to be counted", func() bool { return w.server.status().Clock.Steps >= w.steps })
}

// knock lets a client in.
func (w *clockWorld) knock() {
	w.t.Helper()
	w.moved(w.t)
	id := []string{"com1", "com2", "com3", "com4"}[w.rand.IntN(4)]
	w.base += 10
	now := w.clock.Now()
	packets, err := client.Sequence(w.profile(id, server4), now, w.base)
	if err != nil {
		w.t.Fatal(err)
	}
	before := w.opened()
	begin := w.boot()
	w.sendUntil(w.t, "198.51.100.2", packets, "the opening", func() bool { return w.opened() > before })
	w.until[id] = begin.Add(openFor)
	w.heard = append(w.heard, heard{now, packets})
}

// step sets the clock, by up to an hour.
func (w *clockWorld) step() {
	by := time.Duration(w.rand.Int64N(int64(2*time.Hour))) - time.Hour
	if by.Abs() <= 2*minStep {
		by = time.Hour
	}
	w.clock.host.Step(by)
	w.counted()
}

// counted waits until the server has counted a step: two that follow each other at once
// are one.
func (w *clockWorld) counted() {
	w.steps++
	w.world.until(w.t, "the step to be counted", func() bool { return w.server.status().Clock.Steps >= w.steps })
}

func (w *clockWorld) suspend() { w.sleep(time.Duration(w.rand.Int64N(int64(15 * time.Minute)))) }

// sleep suspends the host. From the second after that, knocks are accepted again.
func (w *clockWorld) sleep(d time.Duration) {
	before := w.server.start.since()
	d += time.Second
	w.clock.host.Suspend(d)
	w.world.until(w.t, "the server to notice", func() bool { return w.server.start.since().After(before) })
	w.clock.host.Pass(time.Second)
}

func (w *clockWorld) pass() { w.clock.host.Pass(time.Duration(w.rand.Int64N(int64(8 * time.Minute)))) }

// replay sets the clock to the time of a sequence that was heard before, and sends it again.
func (w *clockWorld) replay() {
	w.t.Helper()
	h := w.heard[w.rand.IntN(len(w.heard))]
	if by := h.stamp.Sub(w.clock.Now()); by.Abs() > 2*minStep {
		w.clock.host.Step(by)
		w.counted()
	}
	w.moved(w.t)
	opened, before := w.opened(), w.refused()
	w.sendUntil(w.t, "198.51.100.3", h.packets, "the refusals", func() bool { return w.refused() >= before+3 || w.opened() > opened })
	if w.opened() != opened {
		w.t.Fatalf("a sequence of %s opens again", h.stamp)
	}
}

// refused is how many datagrams the verifier and the sessions have refused.
func (w *clockWorld) refused() uint64 {
	all := w.server.sessions.Stats()
	return all[sessions.Replay] + all[sessions.BeforeStart] + w.server.ingest.Stats().Reasons[verify.BelowWindow]
}

// restart starts another server, by which all leases have ended. Of the past, it has the
// record of used nonces only.
func (w *clockWorld) restart() {
	w.stop()
	w.start()
	clear(w.until)
	w.steps = 0
	w.replay()
}
