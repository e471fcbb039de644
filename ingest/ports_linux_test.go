package ingest

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/ingest/udp"
	"sallyport/verify/schedule"
)

// TestSecondServerTakesNoKnocks: it runs as the same user, so the kernel would
// let it share the ports.
func TestSecondServerTakesNoKnocks(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	first, second := start(t, 3), start(t, 3)
	if got := second.Stats(); got.Open != 0 || got.Failures == 0 || got.Failed == 0 {
		t.Errorf("the second server: %+v", got)
	}
	first.stop()
	if second.refresh(t); second.Stats().Open != 7 {
		t.Errorf("the second did not take over: %+v", second.Stats())
	}
}

func TestTurnOfTheMinute(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	s := start(t, 3, loop4)
	at := func(m schedule.Minute, i int) uint16 { p, _ := portsOf(3)(m); return p[i] }
	open := func(port uint16) bool {
		l, err := net.ListenPacket("udp4", netip.AddrPortFrom(loop4, port).String())
		if err == nil {
			l.Close()
		}
		return err != nil
	}
	if got := s.Stats().Open; got != 2*3+1 {
		t.Errorf("%d ports open, want those of three minutes: 7", got)
	}
	for d := schedule.Minute(-2); d <= 2; d++ {
		if got := open(at(minute+d, 0)); got != (d >= -1 && d <= 1) {
			t.Errorf("minute %+d: open: %v", d, got)
		}
	}
	// The shared port takes the last knock of each live minute.
	for d := schedule.Minute(-1); d <= 1; d++ {
		send(t, loop4, at(minute+d, 2), knock(t, minute+d, 2, 2))
		if got := <-s.sink; got.knock.Minute() != minute+d {
			t.Errorf("got minute %d", got.knock.Minute())
		}
	}
	s.clock.Set((minute + 1).Start())
	s.refresh(t)
	if !open(at(minute+2, 0)) || open(at(minute-1, 0)) {
		t.Error("the minute turned, and the ports did not")
	}
	if !open(at(minute, 0)) || !open(at(minute+1, 0)) {
		t.Error("the turn closed a live minute")
	}
	for d := schedule.Minute(0); d <= 1; d++ {
		send(t, loop4, at(minute+d, 2), knock(t, minute+d, 2, 2))
		if got := <-s.sink; got.knock.Minute() != minute+d {
			t.Errorf("after the turn: got minute %d, want %d", got.knock.Minute(), minute+d)
		}
	}
	s.stop()
	for d := schedule.Minute(-1); d <= 2; d++ {
		if open(at(minute+d, 0)) {
			t.Errorf("minute %+d: still open after the stop", d)
		}
	}
}

func TestPortThatAnotherHolds(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	ports, _ := portsOf(3)(minute)
	held, err := net.ListenPacket("udp4", netip.AddrPortFrom(loop4, ports[1]).String())
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, 3, loop4)
	for _, i := range []int{0, 2} {
		send(t, loop4, ports[i], knock(t, minute, i, 2))
		if got := <-s.sink; int(got.knock.Sequence()) != i {
			t.Errorf("got %+v", got)
		}
	}
	if s.refresh(t); s.Stats().Failures < 2 {
		t.Error("it was not tried again")
	}
	held.Close()
	if s.refresh(t); s.Stats().Open != 7 {
		t.Errorf("%d ports open, want 7", s.Stats().Open)
	}
	send(t, loop4, ports[1], knock(t, minute, 1, 2))
	if got := <-s.sink; got.knock.Sequence() != 1 {
		t.Errorf("got %+v", got)
	}
	s.stop()
	log := s.log.String()
	if strings.Count(log, "failed to open knock ports") != 1 || strings.Count(log, "opened on retry") != 1 {
		t.Errorf("log:\n%s", log)
	}
}

// TestAddressThatIsNotThere: the others serve on, and it is taken up when it
// comes.
func TestAddressThatIsNotThere(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	absent := netip.MustParseAddr("192.0.2.1")
	s := start(t, 3, loop4, absent)
	ports, _ := portsOf(3)(minute)
	send(t, loop4, ports[0], knock(t, minute, 0, 2))
	if got := <-s.sink; got.source != loop4 {
		t.Errorf("got %+v", got)
	}
	if got := s.Stats(); got.Open != 7 || got.Failures < 7 || got.Failed == 0 {
		t.Errorf("%+v", got)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrAdd(lo, &netlink.Addr{IPNet: netlink.NewIPNet(absent.AsSlice())}); err != nil {
		t.Fatal(err)
	}
	if s.refresh(t); s.Stats().Open != 14 {
		t.Errorf("%d ports open, want 14", s.Stats().Open)
	}
	send(t, absent, ports[1], knock(t, minute, 1, 2))
	if got := <-s.sink; got.source != absent {
		t.Errorf("got %+v", got)
	}
}

// TestReplacedInterface: the ports at a link-local address are bound again when
// another interface has taken the name of theirs.
func TestReplacedInterface(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	at := netip.MustParseAddr("fe80::77%eth9")
	add := func() netlink.Link {
		link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: at.Zone()}, PeerName: "peer9"}
		for _, err := range []error{
			netlink.LinkAdd(link), netlink.LinkSetUp(link), netlink.LinkSetUp(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: link.PeerName}}),
			netlink.AddrAdd(link, &netlink.Addr{IPNet: netlink.NewIPNet(at.WithZone("").AsSlice()), Flags: unix.IFA_F_NODAD}),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		return link
	}
	ports, _ := portsOf(3)(minute)
	first := add()
	s := start(t, 3, at)
	// The kernel may take a moment to use a new address.
	arrives := func(i int) {
		netns.Until(t, fmt.Sprintf("knock %d", i), func() bool {
			s.refresh(t)
			link, err := udp.Link(at) // package net remembers the interface of a name
			if err != nil {
				return false
			}
			c, err := net.Dial("udp", netip.AddrPortFrom(at.WithZone(fmt.Sprint(link)), ports[i]).String())
			if err != nil {
				return false
			}
			defer c.Close()
			c.Write(knock(t, minute, i, 2))
			select {
			case got := <-s.sink:
				return int(got.knock.Sequence()) == i
			default:
				return false
			}
		})
	}
	arrives(0)
	if err := netlink.LinkDel(first); err != nil {
		t.Fatal(err)
	}
	if s.refresh(t); s.Stats().Open != 7 {
		t.Errorf("without the interface: %d ports open, want 7", s.Stats().Open)
	}
	add()
	arrives(1)
}

// TestRotationRefreshesEverySecond, by itself.
func TestRotationRefreshesEverySecond(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("waits for a second to pass")
	}
	if !netns.Enter(t) {
		return
	}
	s := start(t, 3, loop4)
	s.clock.Set((minute + 10).Start())
	ports, _ := portsOf(3)(minute + 10)
	netns.Until(t, "the ports of another minute", func() bool {
		l, err := net.ListenPacket("udp4", netip.AddrPortFrom(loop4, ports[0]).String())
		if err == nil {
			l.Close()
		}
		return err != nil
	})
}

// TestPause: the ports open at the turn, not up to a second later.
func TestPause(t *testing.T) {
	for _, row := range []struct {
		second, tolerance, want time.Duration
	}{
		{0, time.Minute, checkInterval}, {59*time.Second + 900*time.Millisecond, time.Minute, 100 * time.Millisecond},
		{14*time.Second + 750*time.Millisecond, 45 * time.Second, 250 * time.Millisecond},
		{44*time.Second + 750*time.Millisecond, 45 * time.Second, 250 * time.Millisecond},
	} {
		if got := pause(minute.Start().Add(row.second), row.tolerance); got != row.want {
			t.Errorf("at %v, tolerance %v: %v, want %v", row.second, row.tolerance, got, row.want)
		}
	}
}
