package selftest

import "time"

// end records a result, and logs what differs from "passed as before".
func (t *Tester) end(r Result, why string, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before, alive := t.last, t.verdicts.alive()
	t.verdicts.add(r)
	t.done = nil
	t.last = Last{Result: r, Reason: why, At: t.cfg.Clock.Wall(), Took: took, Row: t.verdicts.row}
	log := t.cfg.Log
	switch {
	case r == Missed && alive && !t.verdicts.alive():
		log.Error("self-test missed; watchdog no longer notified", "reason", why, "missed", t.last.Row, "hint", "without a watchdog: restart the server")
	case r == Missed:
		log.Warn("self-test missed", "reason", why, "missed", t.last.Row)
	case r == Excused:
		log.Warn("self-test missed for a known reason", "reason", why)
	case !before.At.IsZero() && before.Result != Passed:
		log.Info("self-test passes again", "took", took.Round(time.Millisecond))
	}
}

// Alive reports whether the server passes its tests, as far as they show.
func (t *Tester) Alive() bool {
	if t == nil {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.verdicts.alive()
}

// Last returns the last test that has ended.
func (t *Tester) Last() Last {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}

// Counts returns how many tests had each result.
func (t *Tester) Counts() [NumResults]uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.verdicts.counts
}

// Sent returns how many knocks were sent: as many datagrams are in the counters of the
// receiver.
func (t *Tester) Sent() uint64 {
	if t == nil {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sent
}
