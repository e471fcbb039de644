package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/sessions/client"
	"sallyport/verify/wire"
)

// TestShieldFollowsTheClock: the shield accepts the ports of the time that the server's
// wall clock shows, also if that is set by an hour, and back. No replay gets in.
func TestShieldFollowsTheClock(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w, step := newSteppedWorld(t)
	step.startAt(10)
	v := startVictim(t, w.dir)
	awaitLog(t, v, `msg="shield on"`, 1)
	replayer, wrong := w.address(), w.address()
	var granted []grantedKnocks
	behind := *w.guests[2]
	behind.nonces.Path += ".behind"
	for i, by := range []time.Duration{0, time.Hour, -time.Hour} {
		what := fmt.Sprintf("step %d, by %s", i, by)
		step.step(by)
		w.byShield(t, what, v, w.guests[0], shieldHost)
		// A client whose clock the step did not change.
		behind.clock = func() time.Time { return step.now().Add(-by) }
		if by != 0 {
			w.send(t, wrong, shieldHost, behind.attempt(t).packets)
		}
		for _, g := range granted {
			w.send(t, replayer, shieldHost, g.packets)
		}
		granted = append(granted, w.enter(t, what, v, w.guests[1])...)
		w.byShield(t, what+", at last", v, w.guests[0], shieldHost)
		for _, address := range []string{replayer, wrong} {
			if v.has(address) {
				t.Errorf("%s: the service has opened for %s\n%s", what, address, v.log())
			}
		}
	}
	if all := traffic(t, w.dir); all["session_replay"]+all["session_older"]+all["below"]+all["shield_below"] == 0 {
		t.Errorf("no replay came to a live port: %v", all)
	}
	v.end(t, syscall.SIGTERM)
}

// TestShieldWithAFullDisk: knocks that come by the ring open nothing while their nonces
// cannot be recorded. The next one does when there is room.
func TestShieldWithAFullDisk(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newShieldWorld(t)
	disk := filepath.Join(w.dir, "state")
	record, err := os.Open(disk) // of before the mount
	if err != nil {
		t.Fatal(err)
	}
	defer record.Close()
	if err := syscall.Mount("small", disk, "tmpfs", 0, "size=256k,mode=700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(disk, syscall.MNT_DETACH) })
	// Most of the record is a hole.
	copies := exec.Command("cp", "--sparse=always", "/proc/self/fd/3/nonces.db", disk)
	copies.ExtraFiles = []*os.File{record}
	if out, err := copies.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// A record of many clients must grow.
	var many strings.Builder
	name := func(i int) string { return fmt.Sprintf("%04d", i) }
	const crowd = 1000
	for i := range crowd {
		fmt.Fprintf(&many, "%s secret-%d 0\n", name(i), i)
	}
	w.edit(t, "clients.txt", "com3 ", many.String()+"com3 ")
	v := startVictim(t, w.dir)
	awaitLog(t, v, `msg="shield on"`, 1)
	fill := filepath.Join(disk, "fill")
	f, err := os.Create(fill)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	f.Close()
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	from, next := w.address(), 0
	netns.Until(t, "a knock is not recorded", func() bool {
		if next == crowd {
			t.Fatalf("the disk is never full: %v", traffic(t, w.dir))
		}
		p := w.guests[0].profile
		p.Identifier, p.Secret = wire.Identifier([]byte(name(next))), fmt.Appendf(nil, "secret-%d", next)
		next++
		packets, err := client.Sequence(p, time.Now(), 0)
		if err != nil {
			t.Fatal(err)
		}
		w.send(t, from, shieldHost, packets)
		return traffic(t, w.dir)["session_unrecorded"] > 0
	}, v.log)
	full, opened := traffic(t, w.dir), strings.Count(v.log(), "msg=opened")
	barred := w.address()
	w.send(t, barred, shieldHost, w.guests[1].attempt(t).packets)
	netns.Until(t, "another knock is not recorded", func() bool {
		return traffic(t, w.dir)["session_unrecorded"] > full["session_unrecorded"]
	}, v.log)
	if n := strings.Count(v.log(), "msg=opened"); v.has(barred) || n > opened {
		t.Errorf("%d services opened on a full disk\n%s", n-opened, v.log())
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	w.byShield(t, "with room again", v, w.guests[1], shieldHost)
	v.end(t, syscall.SIGTERM)
}

// TestShieldAndTags: the driver's program follows VLAN tags, and refuses by the rules
// behind them. A knock with a tag is for a device of that VLAN, of which this host has
// none, so it does not get in.
func TestShieldAndTags(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newShieldWorld(t)
	v := startVictim(t, w.dir)
	awaitLog(t, v, `msg="shield on" interfaces=srv:native`, 1)
	tap := newTap(t, w.there, "cli")
	source := netip.AddrPortFrom(netip.MustParseAddr(stranger), 40000)
	for _, tags := range [][]uint16{{unix.ETH_P_8021Q}, {unix.ETH_P_8021AD, unix.ETH_P_8021Q}, {unix.ETH_P_8021AD, unix.ETH_P_8021Q, unix.ETH_P_8021Q}} {
		for _, kind := range []struct {
			name, counter string
			payload       func([]byte) []byte
		}{
			{"junk", "shield_size", func([]byte) []byte { return []byte("no knock") }},
			{"a knock", "shield_socket", func(k []byte) []byte { return k }},
		} {
			what := fmt.Sprintf("%s behind %d tags", kind.name, len(tags))
			if len(tags) > 2 {
				kind.counter = "shield_other"
			}
			before := traffic(t, w.dir)
			a := w.guests[0].attempt(t)
			for _, p := range a.packets {
				tap.send(t, tagged(tap.link.Frame(source, p.Port, kind.payload(p.Datagram)), tags...))
			}
			netns.Until(t, what+": "+kind.counter, func() bool {
				return traffic(t, w.dir)[kind.counter] >= before[kind.counter]+uint64(len(a.packets))
			}, v.log, func() string { return fmt.Sprint(before, traffic(t, w.dir)) })
		}
	}
	w.byShield(t, "without a tag", v, w.guests[1], shieldHost)
	if all := traffic(t, w.dir); v.has(stranger) || all["received"] != all["shield_ring"] {
		t.Errorf("a knock with a tag came to the server: %v\n%s", all, v.log())
	}
	if all := tap.received(t); len(udp(all)) > 0 {
		t.Errorf("answers: %x", all)
	}
	v.end(t, syscall.SIGTERM)
}

// TestShieldWithLargeFrames: an interface with an MTU of 9000 has the shield in the
// driver. It takes knocks, and refuses long datagrams.
func TestShieldWithLargeFrames(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	const mtu = 9000
	w := newShieldWorld(t)
	setMTU := func(name string) error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return netlink.LinkSetMTU(l, mtu)
	}
	if err := errors.Join(setMTU(shieldLink), w.there.Do(func() error { return setMTU("cli") })); err != nil {
		t.Fatal(err)
	}
	v := startVictim(t, w.dir)
	awaitLog(t, v, `msg="shield on" interfaces=srv:native`, 1)
	w.byShield(t, "at first", v, w.guests[0], shieldHost)
	tap := newTap(t, w.there, "cli")
	source := netip.AddrPortFrom(netip.MustParseAddr(stranger), 40000)
	for _, size := range []int{mtu - 28, 5000, 1473} {
		before := traffic(t, w.dir)["shield_size"]
		now, _ := livePorts(t, w.guests[0])
		tap.send(t, tap.link.Frame(source, now[0], make([]byte, size)))
		netns.Until(t, fmt.Sprintf("the shield refuses %d bytes", size), func() bool { return traffic(t, w.dir)["shield_size"] > before }, v.log)
	}
	w.byShield(t, "after long datagrams", v, w.guests[0], shieldHost)
	if all := traffic(t, w.dir); all["received"] != all["shield_ring"] || all["kernel"] != 0 {
		t.Errorf("a datagram came to the sockets: %v", all)
	}
	v.end(t, syscall.SIGTERM)
}

// TestShieldServerKilledUnderFlood: after the server was killed and started again under a
// flood, clients get in at once, and then by the shield. No replay does. The holder is
// one that the server starts, and then one that outlives it.
func TestShieldServerKilledUnderFlood(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newShieldWorld(t)
	v := startVictim(t, w.dir)
	flood := w.flood(t, w.guests[3])
	replayer := w.address()
	var granted []grantedKnocks
	for i := range 4 {
		what := fmt.Sprintf("server %d", i)
		granted = append(granted, w.enter(t, what+", at once", v, w.guests[0])...)
		for _, g := range granted {
			w.send(t, replayer, shieldHost, g.packets)
		}
		awaitLog(t, v, `msg="shield on"`, 1)
		flood.without(func() { w.bySoonShield(t, what, v, w.guests[1], shieldHost) })
		before := traffic(t, w.dir)
		netns.Until(t, what+": the shield refuses the flood", func() bool {
			all := traffic(t, w.dir)
			return all["shield_size"] > before["shield_size"]+1000 && all["mac"] > before["mac"]+1000
		}, v.log)
		if v.has(replayer) {
			t.Errorf("%s: a replay got in\n%s", what, v.log())
		}
		if i == 3 {
			break
		}
		v.end(t, syscall.SIGKILL)
		netns.Until(t, what+": the shield is detached", func() bool { return !shieldOn(t, shieldLink) })
		if i == 1 {
			startHold(t, w.dir)
		}
		v = startVictim(t, w.dir)
	}
	v.end(t, syscall.SIGTERM)
	netns.Until(t, "the shield is detached after the end", func() bool { return !shieldOn(t, shieldLink) })
}
