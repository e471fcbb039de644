package holder_test

import (
	"errors"
	"testing"
	"time"

	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/holder"
)

// TestSoonShortensTheTimeout: the element of a displaced peer is not removed,
// which is expensive, but gets a short timeout; and that opens nothing.
func TestSoonShortensTheTimeout(t *testing.T) {
	f := fakeFirewall{ended: make(chan []access.Change, 8)}
	now := epoch
	stopped := func() time.Time { return now }
	c, done := readyAt(t, &f, clock.Clock{Wall: stopped, Monotonic: stopped, Boot: stopped})
	plain, cuts := holder.NewEnforcer(c), holder.NewEnforcer(c, ssh)
	a := peer("192.0.2.1")
	soon := func(cut bool) access.Change { return access.Change{Service: ssh, Peer: a, Soon: true, Cut: cut} }
	do := func(e *holder.Enforcer, c access.Change) {
		t.Helper()
		if err := one(e, c); err != nil {
			t.Fatal(err)
		}
	}
	// expect compares the changes that the firewall got since the last call.
	told := 0
	expect := func(what string, left ...time.Duration) {
		t.Helper()
		if len(f.applied) != told+len(left) {
			t.Fatalf("%s: applied %+v, want %d more than %d", what, f.applied, len(left), told)
		}
		for _, want := range left {
			got := f.applied[told][0]
			if told++; got.Revokes() != (want == 0) || want != 0 && got.Until.Sub(now) != want {
				t.Errorf("%s: applied %+v, want %s", what, got, want)
			}
		}
	}
	open := access.Change{Service: ssh, Peer: a, Until: now.Add(time.Hour)}
	do(plain, soon(false))
	expect("nobody is in, and nobody comes in")
	do(plain, open)
	do(plain, soon(false))
	expect("shortened", time.Hour, access.SoonTime)
	do(plain, soon(false))
	expect("what ends as soon is removed", 0)
	do(plain, open)
	do(plain, soon(false))
	do(plain, access.Change{Service: ssh, Peer: a})
	expect("a revocation takes effect at once", time.Hour, access.SoonTime, 0)
	do(plain, open)
	do(plain, soon(false))
	expect("shortened again", time.Hour, access.SoonTime)
	now = now.Add(access.SoonTime)
	do(plain, access.Change{Service: ssh, Peer: a})
	expect("it has ended by itself")
	open.Until = now.Add(time.Hour)
	do(cuts, open)
	do(cuts, soon(true))
	expect("what is cut is removed", time.Hour, 0)

	// Like a failed revocation, it gives up the holder.
	do(plain, open)
	f.fail = errors.New("no room")
	if err := one(plain, soon(false)); err == nil {
		t.Error("no error")
	}
	select {
	case <-c.Dead():
	default:
		t.Error("the holder lives on")
	}
	<-done
}
