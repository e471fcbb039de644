package ingest

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/panjf2000/ants/v2"
	"github.com/vishvananda/netlink"

	"sallyport/bench/netns"
	"sallyport/verify"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

const minute = schedule.Minute(29_000_000)

var (
	com1   = wire.Identifier([]byte("com1"))
	secret = []byte("com1_secret")
)

// clock is a time that the test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }

func (c *clock) Set(t time.Time) { c.mu.Lock(); defer c.mu.Unlock(); c.now = t }

type delivered struct {
	knock  verify.Knock
	source netip.Addr
}

type sink chan delivered

func (s sink) Deliver(k verify.Knock, source netip.Addr) { s <- delivered{k, source} }

func rules(t testing.TB, n int) verify.Rules {
	t.Helper()
	table, err := verify.NewTable([]verify.Client{{Identifier: com1, Secret: secret}})
	if err != nil {
		t.Fatal(err)
	}
	return verify.Rules{Table: table, Ports: n, Tolerance: time.Minute}
}

// portsOf gives each minute n ports of its own, and one more, the last, that
// all minutes share.
func portsOf(n int) func(schedule.Minute) ([]uint16, error) {
	return func(m schedule.Minute) ([]uint16, error) {
		ports := make([]uint16, n)
		for i := range ports {
			ports[i] = uint16(20_000 + int(m%100)*n + i)
		}
		ports[n-1] = 19_999
		return ports, nil
	}
}

func listsOf(n int) func(schedule.Minute) ([][]uint16, error) {
	return func(m schedule.Minute) ([][]uint16, error) {
		ports, err := portsOf(n)(m)
		return [][]uint16{ports}, err
	}
}

// termsOf are what a shard of its own is given.
func termsOf(t testing.TB, n int) *atomic.Pointer[Terms] {
	var p atomic.Pointer[Terms]
	p.Store(&Terms{rules(t, n), listsOf(n)})
	return &p
}

type testServer struct {
	*Server
	clock *clock
	sink  sink
	log   *strings.Builder
	stop  func()
}

func start(t *testing.T, n int, addresses ...netip.Addr) testServer {
	t.Helper()
	ts := testServer{clock: &clock{now: (minute).Start().Add(30 * time.Second)}, sink: make(sink, 1024), log: &strings.Builder{}}
	s, err := New(Config{
		Addresses: addresses, Readers: 2, Terms: Terms{rules(t, n), listsOf(n)},
		Sink: ts.sink, Now: ts.clock.Now, Log: slog.New(slog.NewTextHandler(ts.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-s.Ready()
	ts.Server = s
	ts.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(ts.stop)
	return ts
}

// wait polls for what happens on another goroutine; a minute means never.
func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 60_000 {
		if ok() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

func knock(t testing.TB, m schedule.Minute, sequence, maximum int) []byte {
	t.Helper()
	b, err := wire.Knock{
		Sequence: int8(sequence), Maximum: int8(maximum), Identifier: com1,
		Timestamp: uint32(m*60 + 30), Nonce: 100 + uint32(sequence),
	}.Sign(secret).AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func send(t testing.TB, address netip.Addr, port uint16, datagram []byte) {
	t.Helper()
	c, err := net.Dial("udp", netip.AddrPortFrom(address, port).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(datagram); err != nil {
		t.Fatal(err)
	}
}

var (
	loop4 = netip.MustParseAddr("127.0.0.1")
	loop6 = netip.MustParseAddr("::1")
)

func TestBothFamilies(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	for name, addresses := range map[string][]netip.Addr{
		"by default": nil, "one for both": {netip.IPv6Unspecified()}, "one each": {netip.IPv4Unspecified(), netip.IPv6Unspecified()}, "loopbacks": {loop4, loop6},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, 3, addresses...)
			ports, _ := portsOf(3)(minute)
			for i, to := range []netip.Addr{loop4, loop6, loop4} {
				send(t, to, ports[i], knock(t, minute, i, 2))
				got := <-s.sink
				if int(got.knock.Sequence()) != i || got.source != to {
					t.Errorf("to %s: got %+v", to, got)
				}
			}
		})
	}
}

// TestSecondServerTakesNoKnocks: it runs as the same user, so the kernel would
// let it share the ports.
func TestSecondServerTakesNoKnocks(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	first, second := start(t, 3), start(t, 3)
	if got := second.Stats(); got.Open != 0 || got.Failures == 0 {
		t.Errorf("the second server: %+v", got)
	}
	first.stop()
	wait(t, "the second to take over", func() bool { return second.Stats().Open == 7 })
}

func TestEveryDatagramIsCounted(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	s := start(t, 3, loop4)
	ports, _ := portsOf(3)(minute)
	good := knock(t, minute, 0, 2)
	want := map[verify.Reason]uint64{}
	for i := range 100 {
		for reason, d := range map[verify.Reason][]byte{
			verify.Authentic: good,
			verify.Size:      good[:i%48],
			verify.Magic:     append([]byte("XX"), good[2:]...),
			verify.Sequence:  knock(t, minute, 1, 2),
			verify.MAC:       append(good[:47:47], good[47]^1),
		} {
			send(t, loop4, ports[0], d)
			want[reason]++
		}
		send(t, loop4, ports[0], append(good[:48:48], make([]byte, 1+i*5)...))
		want[verify.Size]++
		for range want[verify.Authentic] - uint64(i) {
			<-s.sink
		}
		// So slowly that no socket queue overflows.
		wait(t, "all checked", func() bool { return s.Stats().Reasons[verify.MAC] == want[verify.MAC] })
	}
	wait(t, "all received", func() bool { return s.Stats().Received == 100*6 })
	s.stop()
	st := s.Stats()
	var sum uint64
	for r, n := range st.Reasons {
		sum += n
		if n != want[verify.Reason(r)] {
			t.Errorf("%s: counted %d, want %d", verify.Reason(r), n, want[verify.Reason(r)])
		}
	}
	if st.Received != sum+st.Dropped || st.Dropped != 0 {
		t.Errorf("received %d, checked %d, dropped %d", st.Received, sum, st.Dropped)
	}
}

func TestTurnOfTheMinute(t *testing.T) {
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
	wait(t, "the turn", func() bool { return open(at(minute+2, 0)) && !open(at(minute-1, 0)) })
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
	wait(t, "a second try", func() bool { return s.Stats().Failures >= 2 })
	held.Close()
	wait(t, "the port", func() bool { return s.Stats().Open == 7 })
	send(t, loop4, ports[1], knock(t, minute, 1, 2))
	if got := <-s.sink; got.knock.Sequence() != 1 {
		t.Errorf("got %+v", got)
	}
	s.stop()
	if log := s.log.String(); strings.Count(log, "cannot open") != 1 || strings.Count(log, "after all") != 1 {
		t.Errorf("log:\n%s", log)
	}
}

// TestUpdate changes the terms while knocks come in: none of those that are
// good under both is lost, and another secret's ports open and close.
func TestUpdate(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	s := start(t, 3, loop4)
	ports, _ := portsOf(3)(minute)
	const others = 100
	both := func(m schedule.Minute) ([][]uint16, error) {
		ports, _ := portsOf(3)(m)
		return [][]uint16{{ports[0] + others*3, ports[1] + others*3, ports[2]}, ports}, nil
	}
	id := wire.Identifier([]byte("com2"))
	table, err := verify.NewTable([]verify.Client{{Identifier: com1, Secret: secret}, {Identifier: id, Secret: secret}})
	if err != nil {
		t.Fatal(err)
	}
	wide := Terms{verify.Rules{Table: table, Ports: 3, Tolerance: time.Minute}, both}
	narrow := Terms{rules(t, 3), listsOf(3)}
	stop := make(chan struct{})
	sent := make(chan int)
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				sent <- n
				return
			default:
			}
			send(t, loop4, ports[0], knock(t, minute, 0, 2))
			<-s.sink
		}
	}()
	for range 50 {
		for _, terms := range []Terms{wide, narrow} {
			if err := s.Update(t.Context(), terms); err != nil {
				t.Fatal(err)
			}
		}
	}
	close(stop)
	n := <-sent
	if got := s.Stats().Reasons[verify.Authentic]; got != uint64(n) {
		t.Errorf("%d of %d knocks came through", got, n)
	}
	if err := s.Update(t.Context(), wide); err != nil {
		t.Fatal(err)
	}
	if got := s.Stats().Open; got != 13 {
		t.Errorf("%d ports open with two schedules, want 13", got)
	}
	k, _ := wire.Knock{Maximum: 2, Identifier: id, Timestamp: uint32(minute*60 + 30)}.Sign(secret).AppendBinary(nil)
	send(t, loop4, ports[0]+others*3, k)
	if got := <-s.sink; got.knock.Identifier() != id {
		t.Errorf("got %+v", got)
	}
	if err := s.Update(t.Context(), Terms{}); err == nil {
		t.Error("incomplete terms accepted")
	}
	broken := errors.New("broken")
	if err := s.Update(t.Context(), Terms{rules(t, 3), func(schedule.Minute) ([][]uint16, error) { return nil, broken }}); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if got := s.Stats().Open; got != 13 {
		t.Errorf("%d ports open after a refused update", got)
	}
}

// TestAddressThatIsNotThere: the others serve on, and it is taken up when it
// comes.
func TestAddressThatIsNotThere(t *testing.T) {
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
	if got := s.Stats(); got.Open != 7 || got.Failures < 7 {
		t.Errorf("%+v", got)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrAdd(lo, &netlink.Addr{IPNet: netlink.NewIPNet(absent.AsSlice())}); err != nil {
		t.Fatal(err)
	}
	wait(t, "the address", func() bool { return s.Stats().Open == 14 })
	send(t, absent, ports[1], knock(t, minute, 1, 2))
	if got := <-s.sink; got.source != absent {
		t.Errorf("got %+v", got)
	}
}

func TestInterfaceThatIsNotThere(t *testing.T) {
	_, err := openSocket(netip.MustParseAddrPort("[fe80::1%nope0]:20000"), false, alone)
	if err == nil || !strings.Contains(err.Error(), "nope0") {
		t.Errorf("got %v", err)
	}
}

// TestNothingIsLeftOpen starts and stops with a change of ports in between,
// and compares the descriptors before and after.
func TestNothingIsLeftOpen(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	descriptors := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	s := start(t, 3, loop4) // what the runtime opens once is open now
	s.stop()
	before := descriptors()
	for range 5 {
		s := start(t, 3, loop4)
		s.clock.Set((minute + 50).Start())
		if err := s.Update(t.Context(), *s.terms.Load()); err != nil {
			t.Fatal(err)
		}
		s.stop()
	}
	if after := descriptors(); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	// Sockets that a reader was given at the very end are closed too.
	pool, err := ants.NewPool(2)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Release()
	r, err := newReader(newShard(pool, termsOf(t, 1), make(sink, 1), time.Now))
	if err != nil {
		t.Fatal(err)
	}
	ps := newPortSet([]netip.Addr{loop4}, []*reader{r}, slog.New(slog.DiscardHandler))
	r.stop()
	ps.reconcile(map[uint16][]schedule.Place{20_000: {{Minute: minute}}})
	if err := r.run(); err != nil {
		t.Fatal(err)
	}
	r.close()
	if after := descriptors(); after != before {
		t.Errorf("%d descriptors before, %d after a late socket", before, after)
	}
}

// TestPause: the ports open at the turn, not up to a second later.
func TestPause(t *testing.T) {
	for _, row := range []struct {
		second, tolerance, want time.Duration
	}{
		{0, time.Minute, tick}, {59*time.Second + 900*time.Millisecond, time.Minute, 100 * time.Millisecond},
		{14*time.Second + 750*time.Millisecond, 45 * time.Second, 250 * time.Millisecond},
		{44*time.Second + 750*time.Millisecond, 45 * time.Second, 250 * time.Millisecond},
	} {
		if got := pause(minute.Start().Add(row.second), row.tolerance); got != row.want {
			t.Errorf("at %v, tolerance %v: %v, want %v", row.second, row.tolerance, got, row.want)
		}
	}
}

func TestRotationKeepsWhatIsQueued(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	// The reader does not run yet: the datagrams wait in the socket.
	pool, err := ants.NewPool(2)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Release()
	got := make(sink, 1024)
	sh := newShard(pool, termsOf(t, 1), got, func() time.Time { return minute.Start().Add(30 * time.Second) })
	r, err := newReader(sh)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	ps := newPortSet([]netip.Addr{loop4}, []*reader{r}, slog.New(slog.DiscardHandler))
	ps.reconcile(map[uint16][]schedule.Place{20_000: {{Minute: minute, Index: 0}}})
	for range 150 {
		send(t, loop4, 20_000, knock(t, minute, 0, 0))
	}
	reconciled := make(chan struct{})
	go func() { ps.reconcile(nil); close(reconciled) }()
	wait(t, "the removal", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return len(r.removed) == 1 })
	r.stop()
	if err := r.run(); err != nil {
		t.Fatal(err)
	}
	<-reconciled
	sh.wait()
	if len(got) != 150 {
		t.Errorf("%d of 150 queued knocks came through", len(got))
	}
}

// TestOneKnockAtEachOfManyPorts: a sequence of 128 comes to 128 sockets, and
// must not fill the ring as 128 batches would.
func TestOneKnockAtEachOfManyPorts(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	pool, err := ants.NewPool(2)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Release()
	got := make(sink, 1024)
	sh := newShard(pool, termsOf(t, 128), got, func() time.Time { return minute.Start().Add(30 * time.Second) })
	r, err := newReader(sh)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	ps := newPortSet([]netip.Addr{loop4}, []*reader{r}, slog.New(slog.DiscardHandler))
	ports, _ := portsOf(128)(minute)
	wanted := map[uint16][]schedule.Place{}
	for i, p := range ports {
		wanted[p] = []schedule.Place{{Minute: minute, Index: int8(i)}}
	}
	ps.reconcile(wanted)
	sh.active.Store(true) // nothing is drained while the reader reads
	done := make(chan error)
	go func() { done <- r.run() }()
	for i, p := range ports {
		send(t, loop4, p, knock(t, minute, i, 127))
		time.Sleep(100 * time.Microsecond) // so that most make a round of their own
	}
	ps.reconcile(nil) // reads what is left
	r.stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	sh.drain()
	if len(got) != 128 || sh.dropped.Load() != 0 {
		t.Errorf("%d knocks came through, %d were dropped", len(got), sh.dropped.Load())
	}
}

func TestFullRingDropsAndCounts(t *testing.T) {
	pool, err := ants.NewPool(2)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Release()
	sh := newShard(pool, termsOf(t, 1), make(sink, 1), time.Now)
	sh.active.Store(true) // as if a task were stuck: nothing is drained
	b := sh.next()
	for i := range ringSize + 5 {
		b.n = 3
		if taken := sh.push(b); taken != (i < ringSize) {
			t.Fatalf("push %d: %v", i, taken)
		} else if taken {
			if b = sh.next(); b == nil {
				t.Fatalf("push %d: no free batch", i)
			}
		}
	}
	sh.drain()
	if got, want := sh.dropped.Load(), uint64(15); got != want {
		t.Errorf("dropped %d, want %d", got, want)
	}
	if got := sh.reasons[verify.Size].Load(); got != ringSize*3 {
		t.Errorf("checked %d", got)
	}
}

func TestNoAllocationADatagram(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	fd, err := openSocket(netip.AddrPortFrom(loop4, 20_000), false, shared)
	if err != nil {
		t.Fatal(err)
	}
	p := &port{}
	p.places.Store(&[]schedule.Place{{Minute: minute, Index: 0}})
	s := &socket{fd: fd, port: p}
	defer closeSockets([]*socket{s})
	pool, err := ants.NewPool(2, ants.WithPreAlloc(true), ants.WithDisablePurge(true))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Release()
	got := make(sink, 64*200)
	sh := newShard(pool, termsOf(t, 1), got, func() time.Time { return minute.Start() })
	r, err := newReader(sh)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	c, err := net.Dial("udp", "127.0.0.1:20000")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	datagrams := [][]byte{knock(t, minute, 0, 0), make([]byte, 48), nil}
	round := func() {
		for _, d := range datagrams {
			c.Write(d)
		}
		for r.batch.n < len(datagrams) {
			r.read(s)
		}
		r.flush()
		sh.wait()
	}
	round()
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations for %d datagrams", n, len(datagrams))
	}
}

func TestNewRefusesAnIncompleteConfig(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("accepted")
	}
}

func TestRotationFailsWithItsSchedule(t *testing.T) {
	broken := errors.New("broken")
	s, err := New(Config{
		Sink: make(sink, 1), Now: time.Now, Log: slog.New(slog.DiscardHandler),
		Terms: Terms{rules(t, 1), func(schedule.Minute) ([][]uint16, error) { return nil, broken }},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
