package ingest

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/ingest/prefilter/prefiltertest"
	"sallyport/ingest/udp"
	"sallyport/verify"
	"sallyport/verify/schedule"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

type refusal struct {
	verify.Explanation
	source netip.Addr
}

// tracing returns a trace that has room for further ports, and what it explains.
func tracing(id wire.Identifier, ports int) (*Trace, chan refusal) {
	refused := make(chan refusal, 64)
	return &Trace{Identifier: id, Ports: ports, Refused: func(e verify.Explanation, source netip.Addr) { refused <- refusal{e, source} }}, refused
}

// TestTraceOpensTheFilters: while a trace runs, the kernel passes datagrams with the
// identifier, and no others that it refused before, also at ports of other minutes; and at its end
// all is as before.
func TestTraceOpensTheFilters(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	front := &fakeTier{name: "front"}
	s := startWithTiers(t, front)
	ports, _ := portsOf(3)(minute)
	late, _ := portsOf(3)(minute + 5)
	skewed := knock(t, minute+5, 0, 2)
	other := naming(t, verifytest.ID("zzzz"))
	if c := bindUDP(late[0]); c < 0 {
		t.Fatal("a port is open before the trace")
	} else {
		unix.Close(c)
	}
	trace, refused := tracing(com1, 64)
	if err := s.Trace(t.Context(), trace); err != nil {
		t.Fatal(err)
	}
	if _, has := front.table().Ports[late[0]]; has || len(front.table().Ports) == 0 {
		t.Error("a tier before the sockets has a port of the trace")
	}
	before := s.Stats()
	send(t, loop4, late[0], skewed)
	got := <-refused
	if got.Signed != verify.Current || got.Reason != verify.Sequence || got.Placed || got.source != loop4 || got.Knock.Timestamp != uint32((minute+5)*60+30) {
		t.Errorf("a clock that is off: %+v", got)
	}
	forged := slices.Clone(skewed)
	forged[47] ^= 1
	send(t, loop4, ports[0], forged)
	if got := <-refused; got.Signed != verify.Unsigned || got.Reason != verify.Minute || !got.Placed {
		t.Errorf("a forged one: %+v", got)
	}
	// Those of others are refused by the kernel, at all ports.
	for _, p := range []uint16{ports[0], late[0]} {
		send(t, loop4, p, other)
		send(t, loop4, p, []byte("PK"))
	}
	send(t, loop4, ports[0], forged) // arrives after them
	<-refused
	if got := s.Stats(); got.Received != before.Received+3 {
		t.Errorf("received %d datagrams, want 3", got.Received-before.Received)
	}
	// A valid knock is accepted, and not explained.
	send(t, loop4, ports[0], knock(t, minute, 0, 2))
	<-s.sink
	if err := s.Trace(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	before = s.Stats()
	send(t, loop4, ports[0], forged)
	send(t, loop4, ports[1], knock(t, minute, 1, 2))
	<-s.sink
	if got := s.Stats(); got.Received != before.Received+1 || len(refused) > 0 {
		t.Errorf("after the trace: received %d, explained %d", got.Received-before.Received, len(refused))
	}
	if c := bindUDP(late[0]); c < 0 {
		t.Error("a port of the trace is open after it")
	} else {
		unix.Close(c)
	}
}

// TestTraceWithoutPorts: a trace whose ports cannot be drawn changes nothing, and neither
// does a schedule that fails for its minutes later.
func TestTraceWithoutPorts(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	failing := errors.New("no such minute")
	var fails atomic.Bool
	s := startWith(t, 3, func(c *Config) {
		c.Settings.Ports = func(m schedule.Minute) ([][]uint16, error) {
			if fails.Load() && m > minute+5 {
				return nil, failing
			}
			return listsOf(3)(m)
		}
	}, loop4)
	trace, refused := tracing(com1, 64)
	fails.Store(true)
	if err := s.Trace(t.Context(), trace); !errors.Is(err, failing) {
		t.Errorf("got %v", err)
	}
	ports, _ := portsOf(3)(minute)
	send(t, loop4, ports[0], knock(t, minute, 0, 2))
	<-s.sink
	fails.Store(false)
	if err := s.Trace(t.Context(), trace); err != nil {
		t.Fatal(err)
	}
	if s.Stats().Traced == 0 {
		t.Error("no port is open for the trace")
	}
	fails.Store(true)
	s.clock.Set((minute + 1).Start().Add(30 * time.Second))
	s.refresh(t)
	ports, _ = portsOf(3)(minute + 1)
	send(t, loop4, ports[0], knock(t, minute+1, 0, 2))
	<-s.sink
	s.stop()
	if err := s.Trace(t.Context(), nil); err == nil {
		t.Error("a trace of a receiver that has stopped")
	}
	if len(refused) > 0 {
		t.Errorf("%d refused", len(refused))
	}
}

// bindUDP binds a port, and returns its socket; negative: it is taken.
func bindUDP(port uint16) int {
	fd, err := udp.Socket{}.Open(netip.AddrPortFrom(loop4, port))
	if err != nil {
		return -1
	}
	return fd
}

// TestTracePortsTurn: the ports of a trace move with the minutes, at most as many as it
// may open; they never accept a knock.
func TestTracePortsTurn(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	s := start(t, 3, loop4)
	live := s.Stats().Open
	trace, refused := tracing(com1, 10) // three minutes
	if err := s.Trace(t.Context(), trace); err != nil {
		t.Fatal(err)
	}
	if got := s.Stats(); got.Open != live || got.Traced == 0 || got.Traced > 10 {
		t.Errorf("%d ports of the trace, want up to 10; %d others, want %d", got.Traced, got.Open, live)
	}
	s.clock.Set((minute + 1).Start().Add(30 * time.Second))
	s.refresh(t)
	ports, _ := portsOf(3)(minute + 3)
	send(t, loop4, ports[0], knock(t, minute+3, 0, 2))
	if got := <-refused; got.Placed || got.Signed != verify.Current {
		t.Errorf("got %+v", got)
	}
	if len(s.sink) > 0 {
		t.Error("a knock at a port of the trace was accepted")
	}
	// A change of the settings goes on with the trace.
	next := *s.settings.Load()
	next.Rules.Table = verifytest.Table(t, verifytest.Clients("com2")...)
	if err := s.apply(next); err != nil {
		t.Fatal(err)
	}
	here, _ := portsOf(3)(minute + 1)
	send(t, loop4, here[0], knock(t, minute+1, 0, 2))
	if got := <-refused; got.Client || got.Reason != verify.Identifier {
		t.Errorf("after the client was removed: %+v", got)
	}
}

// TestTracePortThatAnotherHolds: a port of the trace that another program has is none of
// the failed ports of the server, is not in the log, and is not opened in the firewall; the
// trace has the others. When the minute makes it a port for knocks, it is a failure.
func TestTracePortThatAnotherHolds(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	late, _ := portsOf(3)(minute + 2) // it is live a minute later
	held := bindUDP(late[0])
	if held < 0 {
		t.Fatal("the port is taken")
	}
	defer unix.Close(held)
	firewall := make(chan []uint16, 16)
	s := startWith(t, 3, func(c *Config) { c.PortsTraced = func(open []uint16) { firewall <- open } }, loop4)
	live := s.Stats().Open
	trace, refused := tracing(com1, 64)
	if err := s.Trace(t.Context(), trace); err != nil {
		t.Fatal(err)
	}
	got := s.Stats()
	if got.Open != live || got.Failed != 0 || got.Failures != 0 || got.Untraced != 1 || got.Traced == 0 {
		t.Errorf("counters %+v", got)
	}
	open := <-firewall
	if slices.Contains(open, late[0]) || !slices.Contains(open, late[1]) || len(open) != got.Traced {
		t.Errorf("in the firewall: %v", open)
	}
	send(t, loop4, late[1], knock(t, minute+2, 1, 2))
	if e := <-refused; e.Signed != verify.Current || e.Placed {
		t.Errorf("at another port: %+v", e)
	}
	if strings.Contains(s.log.String(), "failed to open") {
		t.Errorf("log:\n%s", s.log)
	}
	s.clock.Set((minute + 1).Start().Add(30 * time.Second))
	if s.refresh(t); s.Stats().Failed != 1 {
		t.Errorf("a port for knocks that another program has: %+v", s.Stats())
	}
	if open = <-firewall; slices.Contains(open, late[1]) {
		t.Error("a port for knocks is one of the trace")
	}
	if err := s.Trace(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if open = <-firewall; len(open) != 0 || s.Stats().Traced != 0 || s.Stats().Untraced != 0 {
		t.Errorf("after the trace: %v, %+v", open, s.Stats())
	}
	s.stop()
	if log := s.log.String(); strings.Count(log, "failed to open knock ports") != 1 {
		t.Errorf("log:\n%s", log)
	}
}

// TestTraceOfABusyReader: while the queue of a reader is half full, a flood in the name of the
// client costs it no more than busyLimit signatures a second beyond its usual work. With room
// in the queue, every datagram is explained.
func TestTraceOfABusyReader(t *testing.T) {
	bad := knock(t, minute, 0, 0)
	bad[47] ^= 1
	for _, busy := range []bool{false, true} {
		now := minute.Start().Add(30 * time.Second)
		sh := newShard(nil, settingsOf(t, 1), blackHole{}, func() time.Time { return now }, DefaultQueue)
		var checked, unchecked int
		sh.trace.Store(&Trace{
			Identifier: com1, Refused: func(verify.Explanation, netip.Addr) { checked++ },
			Unchecked: func(r verify.Reason, a netip.Addr) {
				if unchecked++; r != verify.MAC || a != loop4 {
					t.Errorf("%s from %s", r, a)
				}
			},
		})
		places := []schedule.Place{{Minute: minute, Index: 0}}
		b := sh.next()
		for b.n = range batchSize {
			b.places[b.n], b.origins[b.n] = places, udp.NameOf(netip.AddrPortFrom(loop4, 1))
			b.sizes[b.n] = uint8(copy(b.data[b.n][:], bad))
		}
		b.n = batchSize
		if busy {
			for range len(sh.queue.slots)/2 + 1 {
				sh.queue.push(new(batch))
			}
		}
		const seconds, batches = 3, 40
		for range seconds {
			for range batches {
				sh.check(b)
			}
			now = now.Add(time.Second)
		}
		want := seconds * batches * batchSize
		if busy {
			want = seconds * busyLimit
		}
		if checked != want || checked+unchecked != seconds*batches*batchSize {
			t.Errorf("busy %t: %d explained, %d not; want %d", busy, checked, unchecked, want)
		}
		if got := sh.reasons[verify.MAC].Load(); got != seconds*batches*batchSize {
			t.Errorf("%d counted", got)
		}
	}
}

// TestTracedProgram: the program of a trace accepts datagrams with the identifier,
// and else those that the program of the port accepts.
func TestTracedProgram(t *testing.T) {
	for _, row := range prefiltertest.Rows() {
		t.Run(row.Name, func(t *testing.T) {
			traced := verifytest.ID("com1")
			plain, with := machine(t, row.Table.Raw(row.Port)), machine(t, row.Table.RawTraced(row.Port, traced))
			for _, p := range prefiltertest.Packets() {
				want := accepts(t, plain, p.Datagram)
				if len(p.Datagram) == wire.Size && wire.Identifier(p.Datagram[wire.OffsetIdentifier:]) == traced {
					want = true
				}
				if got := accepts(t, with, p.Datagram); got != want {
					t.Errorf("%s: accepted: %v, want %v", p.Name, got, want)
				}
			}
		})
	}
}

func machine(t *testing.T, raw []bpf.RawInstruction) *bpf.VM {
	t.Helper()
	code, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("an instruction is unknown")
	}
	vm, err := bpf.NewVM(code)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

// accepts runs a program on a datagram with its UDP header.
func accepts(t *testing.T, vm *bpf.VM, datagram []byte) bool {
	t.Helper()
	packet := append([]byte{0, 0, 0, 0, byte((8 + len(datagram)) >> 8), byte(8 + len(datagram)), 0, 0}, datagram...)
	n, err := vm.Run(packet)
	if err != nil {
		t.Fatal(err)
	}
	return n > 0
}

// BenchmarkTrace is the check of a batch without a trace, with one of another client, and
// with one of the client of the datagrams, which a flood in its name pays.
func BenchmarkTrace(b *testing.B) {
	bad := knock(b, minute, 0, 0)
	bad[47] ^= 1
	skewed := knock(b, minute+5, 0, 0)
	skewed[47] ^= 1
	for _, row := range []struct {
		name     string
		datagram []byte
	}{{"magic=bad", make([]byte, 48)}, {"minute=bad", skewed}, {"mac=bad", bad}} {
		for _, of := range []string{"", "zzzz", "com1"} {
			b.Run(row.name+"/trace="+of, func(b *testing.B) {
				sh := newShard(nil, settingsOf(b, 1), blackHole{}, func() time.Time { return minute.Start().Add(30 * time.Second) }, DefaultQueue)
				if of != "" {
					sh.trace.Store(&Trace{Identifier: verifytest.ID(of), Refused: func(verify.Explanation, netip.Addr) {}})
				}
				places := []schedule.Place{{Minute: minute, Index: 0}}
				batch := sh.next()
				for i := range batchSize {
					batch.places[i] = places
					batch.sizes[i] = uint8(copy(batch.data[i][:], row.datagram))
					batch.origins[i] = udp.NameOf(netip.AddrPortFrom(loop4, 1))
				}
				batch.n = batchSize
				b.ReportAllocs()
				for b.Loop() {
					sh.check(batch)
				}
				b.ReportMetric(float64(b.Elapsed())/float64(b.N)/batchSize, "ns/pkt")
			})
		}
	}
}
