package ingest

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/ingest/prefilter"
	"sallyport/ingest/xdp"
	"sallyport/verify"
	"sallyport/verify/schedule"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

var (
	here4, here6 = netip.MustParseAddr("198.18.0.1"), netip.MustParseAddr("2001:db8::1")
	away4, away6 = netip.MustParseAddr("198.18.0.2"), netip.MustParseAddr("2001:db8::2")
)

// driver is an interface with the shield's program, and a host on the other side.
type driver struct {
	link netlink.Link
	away *netns.Host
}

func newDriver(t *testing.T) *driver {
	t.Helper()
	d := &driver{away: netns.NewHost(t)}
	netns.Connect(t, netns.End{Name: "here", Addresses: []string{"198.18.0.1/15", "2001:db8::1/64"}},
		d.away, netns.End{Name: "there", Addresses: []string{"198.18.0.2/15", "2001:db8::2/64"}})
	// A veth that has a queue only because of its program loses frames when that comes
	// or goes.
	if err := netns.ReceiveByQueue("here"); err != nil {
		t.Fatal(err)
	}
	var err error
	if d.link, err = netlink.LinkByName("here"); err != nil {
		t.Fatal(err)
	}
	return d
}

// load loads and attaches the program, as the holder does. close ends it.
func (d *driver) load(t *testing.T, sizes xdp.Sizes) (s *xdp.Shield, close func()) {
	t.Helper()
	s, _, close = d.loadOpen(t, sizes)
	return s, close
}

// loadOpen is load, and returns the program's arrays.
func (d *driver) loadOpen(t *testing.T, sizes xdp.Sizes) (s *xdp.Shield, arrays map[string]*os.File, close func()) {
	t.Helper()
	p, err := xdp.Load(sizes)
	if err != nil {
		t.Fatal(err)
	}
	mac := [6]byte(d.link.Attrs().HardwareAddr)
	if err := p.SetAddresses([]xdp.Address{{IP: here4, MAC: mac}, {IP: here6, MAC: mac}}); err != nil {
		t.Fatal(err)
	}
	l, err := p.Attach(d.link.Attrs().Index)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]*os.File{}
	for name, f := range p.Files() {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = os.NewFile(uintptr(fd), name)
	}
	if s, err = xdp.Map(files); err != nil {
		t.Fatal(err)
	}
	close = sync.OnceFunc(func() {
		l.Close()
		p.Close()
	})
	t.Cleanup(close)
	return s, p.Files(), close
}

// sender sends datagrams from the other host.
type sender struct {
	t      *testing.T
	socket *net.UDPConn
}

func (d *driver) sender(t *testing.T, from netip.Addr) sender {
	t.Helper()
	s := sender{t: t}
	if err := d.away.Do(func() (err error) {
		s.socket, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 40_000)))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.socket.Close() })
	return s
}

func (s sender) send(to netip.Addr, port uint16, datagram []byte) {
	if _, err := s.socket.WriteToUDPAddrPort(datagram, netip.AddrPortFrom(to, port)); err != nil {
		s.t.Error(err)
	}
}

func shielded(t *testing.T, n int) testReceiver {
	t.Helper()
	return startWith(t, n, func(c *Config) { c.Shield = true }, here4, here6)
}

func (ts testReceiver) set(t *testing.T, s *xdp.Shield, o xdp.Options) {
	t.Helper()
	if err := ts.SetShield(t.Context(), s, o); err != nil {
		t.Fatal(err)
	}
}

// fromRings is the number of datagrams that the readers of the rings have read.
func (ts testReceiver) fromRings() (n uint64) {
	for _, sh := range ts.shards[ts.cfg.Readers:] {
		n += sh.received.Load()
	}
	return n
}

// next returns the next authentic knock.
func (ts testReceiver) next(t *testing.T) delivered {
	t.Helper()
	var d delivered
	netns.Until(t, "a knock", func() bool {
		select {
		case d = <-ts.sink:
			return true
		default:
			return false
		}
	})
	return d
}

// TestKnocksComeByTheRing, from both families, after a time without datagrams and in a
// burst; each other frame is in exactly one counter.
func TestKnocksComeByTheRing(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	d, ts := newDriver(t), shielded(t, 3)
	s, _ := d.load(t, xdp.Sizes{})
	before := s.Counts()
	ts.set(t, s, xdp.Options{})
	ports, _ := portsOf(3)(minute)
	type way struct {
		from   sender
		source netip.Addr
		to     netip.Addr
	}
	ways := []way{{d.sender(t, away4), away4, here4}, {d.sender(t, away6), away6, here6}}
	for _, w := range ways {
		for i := range 3 {
			w.from.send(w.to, ports[i], knock(t, minute, i, 2))
			if got := ts.next(t); got.source != w.source || int(got.knock.Sequence()) != i {
				t.Errorf("knock %d from %s, want %d from %s", got.knock.Sequence(), got.source, i, w.source)
			}
			time.Sleep(5 * time.Millisecond) // the readers fall asleep
		}
	}
	const burst = 500
	good, bad := knock(t, minute, 0, 2), []byte("no knock")
	for range burst {
		for _, w := range ways {
			w.from.send(w.to, ports[0], good)
			w.from.send(w.to, ports[0], bad)
		}
	}
	for range 2 * burst {
		ts.next(t)
	}
	ts.refresh(t)
	st := ts.Stats()
	if want := uint64(6 + 2*burst); st.Shield[xdp.CountRing] != want || ts.fromRings() != want || st.Received != want {
		t.Errorf("%d in rings, %d read from them, %d received, want %d", st.Shield[xdp.CountRing], ts.fromRings(), st.Received, want)
	}
	if got := st.Shield[xdp.CountSize]; got != 2*burst {
		t.Errorf("%d of another size, want %d", got, 2*burst)
	}
	frames := uint64(0) // apart from those of the host itself
	for i, n := range st.Shield {
		if i != xdp.CountOther {
			frames += n - before[i]
		}
	}
	if frames != 6+4*burst {
		t.Errorf("%d frames, want %d", frames, 6+4*burst)
	}
	if st.RingTime <= 0 || st.RingLongest <= 0 || st.RingLongest > st.RingTime {
		t.Errorf("%s in rings, the longest %s", st.RingTime, st.RingLongest)
	}
	if first := st.Tiers[0]; first.Name != "shield" || first.Level != prefilter.Clients {
		t.Errorf("tiers %+v", st.Tiers)
	}
}

// TestShieldFollowsTheMinute: no knock is lost when the minute turns, nor when settings
// change, and ports and clients of before are refused afterwards.
func TestShieldFollowsTheMinute(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	d, ts := newDriver(t), shielded(t, 3)
	s, _ := d.load(t, xdp.Sizes{})
	ts.set(t, s, xdp.Options{Shares: true})
	from := d.sender(t, away4)
	for m := minute; m < minute+4; m++ {
		ports, _ := portsOf(3)(m)
		for i, port := range ports {
			from.send(here4, port, knock(t, m, i, 2))
		}
		// The knocks are on their way, or in the rings, while the minute turns.
		ts.clock.Set((m + 1).Start().Add(30 * time.Second))
		ts.refresh(t)
		for range 3 {
			ts.next(t)
		}
	}
	old, _ := portsOf(3)(minute)
	from.send(here4, old[0], knock(t, minute, 0, 2)) // closed long ago: no port of the table
	ts.clock.Set(minute.Start().Add(30 * time.Second))
	ts.refresh(t)

	// A reload: a client more, and then another one only.
	name := func(id string) []byte {
		return verifytest.Sign(t, wire.Knock{Maximum: 2, Identifier: verifytest.ID(id), Timestamp: uint32(minute*60 + 30), Nonce: 100})
	}
	ports, _ := portsOf(3)(minute)
	for _, step := range []struct{ clients, known []string }{
		{[]string{"com1", "com2"}, []string{"com1", "com2"}}, {[]string{"com2"}, []string{"com2"}}, {[]string{"com1"}, []string{"com1"}},
	} {
		next := Settings{Rules: rules(t, 3), Ports: listsOf(3)}
		next.Rules.Table = verifytest.Table(t, verifytest.Clients(step.clients...)...)
		if err := ts.apply(next); err != nil {
			t.Fatal(err)
		}
		before := ts.Stats().Shield[xdp.CountIdentifier]
		for _, id := range []string{"com1", "com2"} {
			from.send(here4, ports[0], name(id))
		}
		for range step.known {
			if got := ts.next(t).knock.Identifier().String(); !slices.Contains(step.known, got) {
				t.Errorf("a knock of %s", got)
			}
		}
		refused := uint64(2 - len(step.known))
		netns.Until(t, "the unknown client is refused", func() bool { return ts.Stats().Shield[xdp.CountIdentifier] == before+refused })
	}
	// Ports of settings that are prepared accept nothing before commit.
	next := Settings{Rules: rules(t, 3), Ports: func(schedule.Minute) ([][]uint16, error) { return [][]uint16{{9000, 9001, 9002}}, nil }}
	commit, _, err := ts.Prepare(t.Context(), next)
	if err != nil {
		t.Fatal(err)
	}
	from.send(here4, 9000, knock(t, minute, 0, 2))
	netns.Until(t, "the early knock is refused", func() bool { return ts.Stats().Reasons[verify.Sequence] == 1 })
	if err := commit(); err != nil {
		t.Fatal(err)
	}
	from.send(here4, 9000, knock(t, minute, 0, 2))
	ts.next(t)
	if st := ts.Stats(); st.Received != st.Shield[xdp.CountRing] {
		t.Errorf("%d received, %d by the ring", st.Received, st.Shield[xdp.CountRing])
	}
}

// TestShieldGoesAndComesBack: under traffic, the program ends and another one begins,
// with and without a notice before. Each knock is delivered, by the socket or by a ring.
func TestShieldGoesAndComesBack(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	d, ts := newDriver(t), shielded(t, 3)
	from := d.sender(t, away4)
	ports, _ := portsOf(3)(minute)
	var sent, got atomic.Uint64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		good := knock(t, minute, 0, 2)
		for {
			select {
			case <-stop:
				return
			case <-ts.sink:
				got.Add(1)
			default:
				if sent.Load()-got.Load() < 100 { // less than any queue holds
					from.send(here4, ports[0], good)
					sent.Add(1)
				}
			}
		}
	}()
	state := func() string {
		link, err := netns.Count("here")
		return fmt.Sprintf("%d of %d; interface %+v %v; %+v, %d from rings", got.Load(), sent.Load(), link, err, ts.Stats(), ts.fromRings())
	}
	more := func() {
		t.Helper()
		from := got.Load()
		netns.Until(t, "more knocks", func() bool { return got.Load() > from+500 }, state)
	}
	more()
	for i := range 3 {
		s, gone := d.load(t, xdp.Sizes{Slots: 256})
		ts.set(t, s, xdp.Options{Shares: i > 0})
		rings := ts.fromRings()
		more()
		if ts.fromRings() == rings {
			t.Error("no knock comes by the ring")
		}
		switch i {
		case 0: // the holder dies
			gone()
			more()
			ts.set(t, nil, xdp.Options{})
		case 1: // the holder stops
			ts.set(t, nil, xdp.Options{})
			gone()
		case 2: // options change, and the next holder comes at once
			ts.set(t, s, xdp.Options{Mirror: true})
			more()
			ts.set(t, s, xdp.Options{})
			more()
			gone()
			next, _ := d.load(t, xdp.Sizes{Slots: 128})
			ts.set(t, next, xdp.Options{})
		}
		more()
	}
	close(stop)
	<-done
	netns.Until(t, "the last knocks", func() bool {
		for {
			select {
			case <-ts.sink:
				got.Add(1)
			default:
				return got.Load() == sent.Load()
			}
		}
	}, state)
	st := ts.Stats()
	if st.Shield[xdp.CountRing] != ts.fromRings() || st.Received != sent.Load() {
		t.Errorf("%d in rings, %d read from them; %d received of %d", st.Shield[xdp.CountRing], ts.fromRings(), st.Received, sent.Load())
	}
}

// TestStopEmptiesTheRings: when Run returns, each datagram that a ring had was checked.
func TestStopEmptiesTheRings(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	d, ts := newDriver(t), shielded(t, 3)
	s, _ := d.load(t, xdp.Sizes{})
	ts.set(t, s, xdp.Options{})
	from := d.sender(t, away4)
	ports, _ := portsOf(3)(minute)
	bad := knock(t, minute, 0, 2)
	bad[47]++
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				from.send(here4, ports[0], bad)
			}
		}
	}()
	netns.Until(t, "a flood", func() bool { return ts.Stats().Reasons[verify.MAC] > 5000 })
	ts.stop()
	close(stop)
	<-done
	st := ts.Stats()
	if st.Shield[xdp.CountRing] != ts.fromRings() {
		t.Errorf("%d in rings, %d read from them", st.Shield[xdp.CountRing], ts.fromRings())
	}
	if st.Reasons[verify.MAC]+st.Dropped != st.Received {
		t.Errorf("%d checked, %d dropped, %d received", st.Reasons[verify.MAC], st.Dropped, st.Received)
	}
	if err := ts.SetShield(t.Context(), nil, xdp.Options{}); err == nil {
		t.Error("a shield is set after the end")
	}
}

// TestFullRingsLoseNothingTheyHave: while the checks stand still, the rings fill, and the
// program drops and counts. Then each datagram of the rings is delivered.
func TestFullRingsLoseNothingTheyHave(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	d := newDriver(t)
	ts := startWith(t, 3, func(c *Config) { c.Shield, c.Queue = true, MinQueue }, here4)
	s, _ := d.load(t, xdp.Sizes{Slots: 1})
	ts.set(t, s, xdp.Options{})
	from := d.sender(t, away4)
	ports, _ := portsOf(3)(minute)
	good := knock(t, minute, 0, 2)
	sent := uint64(0)
	netns.Until(t, "full rings", func() bool { // the sink blocks: nothing reads it
		for range 100 {
			from.send(here4, ports[0], good)
			sent++
		}
		return ts.Stats().Shield[xdp.CountFull] > 100
	})
	got := uint64(0)
	netns.Until(t, "all knocks of the rings", func() bool {
		for {
			select {
			case <-ts.sink:
				got++
			default:
				st := ts.Stats()
				return got == st.Shield[xdp.CountRing] && got+st.Shield[xdp.CountFull] == sent
			}
		}
	})
	if st := ts.Stats(); st.Dropped > 0 || st.Received != got {
		t.Errorf("%d dropped, %d received of %d", st.Dropped, st.Received, got)
	}
}

// TestNonceMarksReachTheProgram: the highest nonce of a client, known before or raised
// later, and that of a new table.
func TestNonceMarksReachTheProgram(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	d, ts := newDriver(t), shielded(t, 3)
	floor := func() *verify.Floor {
		current, _ := ts.settings.Load().Rules.Table.Windows(com1)
		return current.Floor
	}
	floor().Raise(0, 50_000_000)
	s, _ := d.load(t, xdp.Sizes{})
	ts.set(t, s, xdp.Options{})
	from := d.sender(t, away4)
	ports, _ := portsOf(3)(minute)
	try := func(nonce uint32, want int) {
		t.Helper()
		before := ts.Stats().Shield[want]
		from.send(here4, ports[0], verifytest.Sign(t, wire.Knock{Maximum: 2, Identifier: com1, Timestamp: uint32(minute*60 + 30), Nonce: nonce}))
		netns.Until(t, xdp.CountNames[want], func() bool { return ts.Stats().Shield[want] == before+1 })
	}
	try(7, xdp.CountBelow)
	try(50_000_001, xdp.CountRing)
	try(60_000_000, xdp.CountAhead)
	floor().Raise(0, 60_000_000)
	try(60_000_000, xdp.CountRing)
	try(1<<31, xdp.CountAhead)
	var ahead []uint32
	ts.TooFarAhead(func(id wire.Identifier, n uint32) { ahead = append(ahead, n) })
	if !slices.Equal(ahead, []uint32{2}) {
		t.Errorf("too far ahead: %v", ahead)
	}
	next := Settings{Rules: rules(t, 3), Ports: listsOf(3)} // the same secret, in another table
	if err := ts.apply(next); err != nil {
		t.Fatal(err)
	}
	try(7, xdp.CountBelow)
	next.Rules.Table = verifytest.Table(t, verify.Key{Identifier: com1, Secret: []byte("another")})
	if err := ts.apply(next); err != nil {
		t.Fatal(err)
	}
	try(7, xdp.CountRing)
	floor().Forget()
	try(1<<32-1, xdp.CountRing)
}

// TestWithoutRings: a receiver that was made without them refuses a shield.
func TestWithoutRings(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	ts := start(t, 3, loop4)
	if err := ts.SetShield(t.Context(), nil, xdp.Options{}); err == nil {
		t.Error("no error")
	}
	ts.TooFarAhead(func(wire.Identifier, uint32) { t.Error("a client") })
	idle := startWith(t, 3, func(c *Config) { c.Shield = true }, loop4)
	if err := idle.SetShield(t.Context(), nil, xdp.Options{}); err != nil {
		t.Error(err)
	}
}
