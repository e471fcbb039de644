package main

import (
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"sallyport/bench/netns"
	"sallyport/verify/schedule"
)

// TestFloodedMinute: under a flood, the minute turns, settings and clients change, the
// holder is killed and another one comes, and the interface goes and comes. Clients get
// in at any time. A former client and replays do not. Each frame is in one counter.
func TestFloodedMinute(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w, step := newSteppedWorld(t)
	step.startAt(40)
	v := startVictim(t, w.dir)
	awaitLog(t, v, `msg="shield on" interfaces=srv:native`, 1)
	begin := schedule.MinuteOf(step.now())
	m := &floodedMinute{shieldWorld: w, v: v, flood: w.flood(t, w.guests[3]), replayer: w.address(), former: w.address()}
	m.phase(t, "at first", w.guests[0], byRing)
	m.reload(t)
	m.holderDies(t)
	h := m.holderComes(t)
	m.interfaceGoes(t)
	for turned := false; !turned; {
		turned = schedule.MinuteOf(step.now()) > begin // and once after the turn
		m.phase(t, "around the turn of the minute", w.guests[0], byRing)
		time.Sleep(time.Second)
	}
	m.phase(t, "the client of which an attacker has seen a knock", w.guests[3], byRing)
	t.Logf("%d frames of the flood, %d knocks, of which %d honest", m.flood.frames.Load(), m.knocks.Load(), m.honest)

	v.end(t, syscall.SIGTERM)
	if shieldOn(t, shieldLink) {
		t.Errorf("the interface has a program after the server's end in order\n%s", v.log())
	}
	h.end(t, syscall.SIGTERM)
}

// way is how datagrams come to the server.
type way string

const (
	byRing    way = "by the ring"
	bySockets way = "by the sockets"
	byEither  way = "by either"
)

// floodedMinute is a server in a flooded minute, and the knocks that it got.
type floodedMinute struct {
	*shieldWorld
	v                *victim
	flood            *flooder
	granted          []grantedKnocks
	honest           uint64 // datagrams
	removed          *guest // a former client; nil: none
	replayer, former string // addresses that must not get in
}

// enter lets a client in, and keeps what it has sent.
func (m *floodedMinute) enter(t *testing.T, what string, g *guest) {
	t.Helper()
	sent := m.shieldWorld.enter(t, what, m.v, g)
	m.granted = append(m.granted, sent...)
	for _, s := range sent {
		m.honest += uint64(len(s.packets))
	}
}

// phase checks that a client gets in, and that a former client and replays do not; and
// by which way all datagrams come.
func (m *floodedMinute) phase(t *testing.T, what string, g *guest, by way) {
	t.Helper()
	before := m.closes(t, "before: "+what)
	m.enter(t, what, g)
	if m.removed != nil {
		m.send(t, m.former, shieldHost, m.removed.attempt(t).packets)
	}
	for _, s := range m.granted {
		if time.Since(s.at) < 50*time.Second { // the ports of others may be closed
			m.send(t, m.replayer, shieldHost, s.packets)
		}
	}
	after := m.closes(t, what)
	grown := func(name string) uint64 { return after[name] - before[name] }
	if by == byRing && grown("received") != grown("shield_ring") || by == bySockets && grown("shield_ring") > 0 {
		t.Errorf("%s: the server got %d datagrams, of which %d by the ring, want all %s\n%s", what, grown("received"), grown("shield_ring"), by, m.v.log())
	}
	if n := grown("session_replay") + grown("session_older") + grown("below") + grown("shield_below"); n == 0 {
		t.Errorf("%s: no replay was refused: %v", what, after)
	}
	for _, address := range []string{m.former, m.replayer} {
		if m.v.has(address) {
			t.Errorf("%s: the service has opened for %s\n%s", what, address, m.v.log())
		}
	}
}

// closes pauses the flood, and checks that each frame is in one counter. It also checks
// that the server has accepted at most as many knocks as honest clients have sent.
func (m *floodedMinute) closes(t *testing.T, what string) (all map[string]uint64) {
	t.Helper()
	m.flood.without(func() {
		all = m.settled(t, what, m.v, m.flood.frames.Load()+m.knocks.Load())
	})
	if n := all["session_recorded"] + all["session_opened"]; n > m.honest {
		t.Errorf("%s: %d knocks were accepted, and %d sent", what, n, m.honest)
	}
	return all
}

// reload adds a client, removes another one, and changes an option of the shield.
func (m *floodedMinute) reload(t *testing.T) {
	t.Helper()
	m.enter(t, "a client before its removal", m.guests[2])
	m.edit(t, "clients.txt", "com2 secret-2 0\n", "com9 secret-9 0\n")
	m.edit(t, "sallyportd.toml", "[[service]]", "shield_shares = true\n[[service]]")
	m.run(t, "reload")
	m.removed = m.guests[2]
	added := *m.guests[2]
	added.profile.Identifier, added.profile.Secret = [4]byte{'c', 'o', 'm', '9'}, []byte("secret-9")
	added.nonces.Path += ".9"
	m.phase(t, "the new client", &added, byRing)
	m.phase(t, "an earlier client", m.guests[0], byRing)
}

// holderDies kills the server's holder.
func (m *floodedMinute) holderDies(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(holderOf(t, m.v.cmd.Process.Pid), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	m.phase(t, "while the holder dies", m.guests[1], byEither)
	awaitLog(t, m.v, `msg="shield gone; the sockets go on"`, 1)
	netns.Until(t, "the kernel has detached the shield", func() bool { return !shieldOn(t, shieldLink) }, m.v.log)
	m.phase(t, "without a holder", m.guests[1], bySockets)
	m.checks(t, "warning: the running server has no shield, and receives at its sockets: ", true)
}

// holderComes starts another holder.
func (m *floodedMinute) holderComes(t *testing.T) *victim {
	t.Helper()
	h := startHold(t, m.dir)
	m.phase(t, "while the next holder comes", m.guests[1], byEither)
	awaitLog(t, m.v, `msg="shield on"`, 2)
	m.phase(t, "with the next holder", m.guests[1], byRing)
	m.checks(t, "warning: the running server has no shield", false)
	return h
}

// interfaceGoes deletes the interface, and makes it again with the same addresses. The
// flood goes on, but its frames are lost while there is no interface.
func (m *floodedMinute) interfaceGoes(t *testing.T) {
	t.Helper()
	l, err := netlink.LinkByName(shieldLink)
	if err != nil {
		t.Fatal(err)
	}
	m.flood.without(func() { // the interface would lose the frames in its queue
		m.settled(t, "before the interface goes", m.v, m.flood.frames.Load()+m.knocks.Load())
		if err := netlink.LinkDel(l); err != nil {
			t.Fatal(err)
		}
	})
	m.connect(t)
	m.flood.aim(t, m.shieldWorld)
	m.phase(t, "at the new interface", m.guests[0], byEither)
	before := traffic(t, m.dir)["shield_ring"]
	netns.Until(t, "the shield takes the flood at the new interface", func() bool { return traffic(t, m.dir)["shield_ring"] > before }, m.v.log)
	m.phase(t, "at the new interface with the shield", m.guests[0], byRing)
}
