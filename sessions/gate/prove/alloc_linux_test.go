package prove

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/verify/preamble"
	"sallyport/verify/verifytest"
)

// pair returns a connection without package net, whose ends a test reads and writes.
func pair(t testing.TB) (ours, theirs int) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fds[0], fds[1]
}

// stranger makes a connection that sends b, late or before it is accepted, and waits until
// the Prover has refused it.
func (w *world) stranger(b []byte, late bool) {
	ours, theirs := pair(w.t)
	defer unix.Close(theirs)
	add := func() { w.prover.add(ours, loopback.Addr(), loopback, w) }
	if late {
		add()
	}
	if len(b) > 0 {
		if err := send(theirs, b); err != nil {
			w.t.Fatal(err)
		}
	}
	if !late {
		add()
	}
	for n := uint64(len(b) / preamble.Size); w.refused() < n; {
		time.Sleep(10 * time.Microsecond)
	}
}

var loopback = peer(1)

// refused returns how many connections have left the table since refused was reset.
func (w *world) refused() (n uint64) {
	for o, of := range w.authority.Stats() {
		if Outcome(o) != Passed {
			n += of
		}
	}
	return n - w.before
}

// TestStrangersDoNotAllocate: nothing that is sent without the secret of a client makes
// this process allocate.
func TestStrangersDoNotAllocate(t *testing.T) {
	w := newWorld(t, Config{Pending: 16, Share: 8})
	now := uint32(time.Now().Unix())
	of := func(service, id string) []byte {
		b := verifytest.Handshake(t, service, id, now, 7).Preamble()
		return b[:]
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "zeros": make([]byte, preamble.Size), "no client": of("ssh", "none"), "another service": of("web", "com1"),
	} {
		fds := func() {
			ours, theirs := pair(t)
			unix.Close(ours)
			unix.Close(theirs)
		}
		without := testing.AllocsPerRun(200, fds)
		for _, late := range []bool{false, true} {
			got := testing.AllocsPerRun(200, func() {
				w.before += w.refused()
				w.stranger(b, late)
			})
			if got > without {
				t.Errorf("%s, late %t: %g allocations", name, late, got-without)
			}
		}
	}
}
