package ingest

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"sallyport/bench/netns"
	"sallyport/verify"
	"sallyport/verify/schedule"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

const minute = schedule.Minute(29_000_000)

var com1 = verifytest.ID("com1")

// clock is a time that the test sets. Ingest needs no other clock than that of
// knocks, and does not import sessions, whose clocktest has all three.
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
	return verify.Rules{Table: verifytest.Table(t, verifytest.Client(com1)), Ports: n, Tolerance: time.Minute}
}

// portsOf draws n ports for each minute. The last one is the same port in
// all minutes.
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

// settingsOf returns the settings for a shard without a receiver.
func settingsOf(t testing.TB, n int) *atomic.Pointer[Settings] {
	var p atomic.Pointer[Settings]
	p.Store(&Settings{Rules: rules(t, n), Ports: listsOf(n)})
	return &p
}

type testReceiver struct {
	*Receiver
	clock *clock
	sink  sink
	log   *strings.Builder
	stop  func()
}

func start(t *testing.T, n int, addresses ...netip.Addr) testReceiver {
	t.Helper()
	return startWith(t, n, func(*Config) {}, addresses...)
}

func startWith(t *testing.T, n int, change func(*Config), addresses ...netip.Addr) testReceiver {
	t.Helper()
	return startReceiver(t, n, change, func(*Receiver) {}, addresses...)
}

// startReceiver changes a receiver after New, and runs it.
func startReceiver(t *testing.T, n int, change func(*Config), changeReceiver func(*Receiver), addresses ...netip.Addr) testReceiver {
	t.Helper()
	ts := testReceiver{clock: &clock{now: (minute).Start().Add(30 * time.Second)}, sink: make(sink, 1024), log: &strings.Builder{}}
	cfg := Config{
		Addresses: addresses, Readers: 2, Settings: Settings{Rules: rules(t, n), Ports: listsOf(n)},
		Sink: ts.sink, Now: ts.clock.Now, Log: slog.New(slog.NewTextHandler(ts.log, nil)),
	}
	change(&cfg)
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	changeReceiver(s)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-s.Ready()
	ts.Receiver = s
	ts.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(ts.stop)
	return ts
}

// apply changes the settings.
func (ts testReceiver) apply(t Settings) error {
	commit, _, err := ts.Prepare(context.Background(), t)
	if err != nil {
		return err
	}
	return commit()
}

// refresh makes the rotation refresh now, and not up to a second later: the
// ports, by the clock, and the count of the kernel's drops.
func (ts testReceiver) refresh(t *testing.T) {
	t.Helper()
	if err := ts.runInRotation(t.Context(), (*rotation).refresh); err != nil {
		t.Fatal(err)
	}
}

func knock(t testing.TB, m schedule.Minute, sequence, maximum int) []byte {
	t.Helper()
	return verifytest.Sign(t, wire.Knock{
		Sequence: int8(sequence), Maximum: int8(maximum), Identifier: com1,
		Timestamp: uint32(m*60 + 30), Nonce: 100 + uint32(sequence),
	})
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
	t.Parallel()
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

// TestEveryDatagramIsCounted: by us with its reason, or by the kernel.
func TestEveryDatagramIsCounted(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	t.Run("by us", func(t *testing.T) { everyDatagramIsCounted(t, false) })
	t.Run("by the kernel", func(t *testing.T) { everyDatagramIsCounted(t, true) })
}

func everyDatagramIsCounted(t *testing.T, filtered bool) {
	s := startWith(t, 3, func(c *Config) { c.Unfiltered = !filtered }, loop4)
	ports, _ := portsOf(3)(minute)
	good := knock(t, minute, 0, 2)
	stranger := append([]byte(nil), good...)
	copy(stranger[wire.OffsetIdentifier:], "none")
	want := map[verify.Reason]uint64{}
	kernel := uint64(0)
	for i := range 100 {
		for reason, d := range map[verify.Reason][]byte{
			verify.Authentic:  good,
			verify.Size:       good[:i%48],
			verify.Magic:      append([]byte("XX"), good[2:]...),
			verify.Sequence:   knock(t, minute, 1, 2),
			verify.Identifier: stranger,
			verify.MAC:        append(good[:47:47], good[47]^1),
		} {
			send(t, loop4, ports[0], d)
			if filtered && reason != verify.Authentic && reason != verify.MAC {
				kernel++
			} else {
				want[reason]++
			}
		}
		send(t, loop4, ports[0], append(good[:48:48], make([]byte, 1+i*5)...))
		if filtered {
			kernel++
		} else {
			want[verify.Size]++
		}
		<-s.sink
		// So slowly that no socket queue overflows.
		netns.Until(t, "all checked", func() bool { return s.Stats().Reasons[verify.MAC] == want[verify.MAC] })
	}
	netns.Until(t, "all received", func() bool { st := s.Stats(); return st.Received+st.Kernel == 100*7 })
	s.stop()
	st := s.Stats()
	var sum uint64
	for r, n := range st.Reasons {
		sum += n
		if n != want[verify.Reason(r)] {
			t.Errorf("%s: counted %d, want %d", verify.Reason(r), n, want[verify.Reason(r)])
		}
	}
	if st.Received != sum+st.Dropped || st.Dropped != 0 || st.Kernel != kernel {
		t.Errorf("received %d, checked %d, dropped %d; kernel %d, want %d", st.Received, sum, st.Dropped, st.Kernel, kernel)
	}
}

// TestChangeFreesTheOldTable, since a million clients twice is a lot.
func TestChangeFreesTheOldTable(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	s := start(t, 3, loop4)
	for range 2 {
		old := weak.Make(s.settings.Load().Rules.Table)
		// The verifier has it, too.
		ports, _ := portsOf(3)(minute)
		send(t, loop4, ports[0], knock(t, minute, 0, 2))
		<-s.sink
		if err := s.apply(Settings{Rules: rules(t, 3), Ports: listsOf(3)}); err != nil {
			t.Fatal(err)
		}
		netns.Until(t, "the old table to go", func() bool {
			runtime.GC()
			return old.Value() == nil
		})
	}
}

// TestChangeOfSettings changes the settings while knocks arrive: none of those that are
// good under both is lost, and another secret's ports open and close.
func TestChangeOfSettings(t *testing.T) {
	t.Parallel()
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
	wide := Settings{Rules: verify.Rules{Table: verifytest.Table(t, verifytest.Clients("com1", "com2")...), Ports: 3, Tolerance: time.Minute}, Ports: both}
	narrow := Settings{Rules: rules(t, 3), Ports: listsOf(3)}
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
		for _, next := range []Settings{wide, narrow} {
			if err := s.apply(next); err != nil {
				t.Fatal(err)
			}
		}
	}
	close(stop)
	n := <-sent
	if got := s.Stats().Reasons[verify.Authentic]; got != uint64(n) {
		t.Errorf("%d of %d knocks came through", got, n)
	}
	if err := s.apply(wide); err != nil {
		t.Fatal(err)
	}
	if got := s.Stats().Open; got != 13 {
		t.Errorf("%d ports open with two schedules, want 13", got)
	}
	send(t, loop4, ports[0]+others*3, knockOf(t, com2))
	if got := <-s.sink; got.knock.Identifier() != com2 {
		t.Errorf("got %+v", got)
	}
	if err := s.apply(Settings{}); err == nil {
		t.Error("incomplete settings accepted")
	}
	broken := errors.New("broken")
	err := s.apply(Settings{Rules: rules(t, 3), Ports: func(schedule.Minute) ([][]uint16, error) { return nil, broken }})
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if got := s.Stats().Open; got != 13 {
		t.Errorf("%d ports open after a refused change", got)
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
		Settings: Settings{Rules: rules(t, 1), Ports: func(schedule.Minute) ([][]uint16, error) { return nil, broken }},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
