package selftest

import "time"

const (
	// slowAnswer is from when on an answer of the record or of the gate is slow. An attempt
	// waits for two of the record: for the one before its own, and for its own, which may be
	// one together with clients'. In a fleet each can take ten seconds if etcd hangs.
	slowAnswer = 2 * time.Second
	// stuck is from when on the server itself counts as the cause: all requests to etcd and
	// to the holder of the firewall have ended by then.
	stuck = 30 * time.Second
)

// waits are the calls of the record and of the gate, by the recorder's goroutine, which
// makes one at a time.
type waits struct {
	since time.Time // when the call that runs began; zero: none runs
	slow  bool      // a call that has ended since the test began was slow
}

// wait notes that a call of the record or of the gate begins, until ended is called.
func (t *Tester) wait() (ended func()) {
	begun := t.cfg.Clock.Monotonic()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waits.since = begun
	return func() {
		took := t.cfg.Clock.Monotonic().Sub(begun)
		t.mu.Lock()
		defer t.mu.Unlock()
		t.waits.since = time.Time{}
		t.waits.slow = t.waits.slow || took > slowAnswer
	}
}

// answersSlowly reports whether a call was slow during the test, or is, and not stuck.
func (t *Tester) answersSlowly() bool {
	now := t.cfg.Clock.Monotonic()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waits.slow || t.waits.since.IsZero() {
		return t.waits.slow
	}
	running := now.Sub(t.waits.since)
	return running > slowAnswer && running < stuck
}
