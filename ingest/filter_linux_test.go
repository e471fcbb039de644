package ingest

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/panjf2000/ants/v2"
	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/ingest/prefilter"
	"sallyport/verify"
	"sallyport/verify/schedule"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

// naming returns a datagram that names a client.
func naming(t testing.TB, id wire.Identifier) []byte {
	b := knock(t, minute, 0, 2)
	copy(b[wire.OffsetIdentifier:], id[:])
	return b
}

func clientNumber(i int) wire.Identifier { return verifytest.ID(fmt.Sprintf("%04d", i)) }

// clientsUpTo returns the clients with the numbers below n.
func clientsUpTo(n int) []verify.Key {
	clients := make([]verify.Key, n)
	for i := range clients {
		clients[i] = verifytest.Client(clientNumber(i))
	}
	return clients
}

// TestFloodInOneNameFillsOneQueue: each client has one reader, before and after
// the ports have changed.
func TestFloodInOneNameFillsOneQueue(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	s := startWith(t, 3, func(c *Config) { c.Unfiltered, c.Readers = true, 4 }, loop4)
	counts := func() (n [4]uint64) {
		for i, sh := range s.shards {
			n[i] = sh.received.Load()
		}
		return n
	}
	for round := range 4 {
		m := minute + schedule.Minute(round)
		s.clock.Set(m.Start().Add(30 * time.Second))
		if err := s.apply(*s.settings.Load()); err != nil {
			t.Fatal(err)
		}
		ports, _ := portsOf(3)(m)
		want := counts()
		for i := range 40 {
			// Many addresses and ports; the flood is in the first one's name.
			for range 5 {
				id := clientNumber(0)
				send(t, loop4, ports[i%3], naming(t, id))
				want[s.ports.setup.steer.Socket(id)]++
			}
			id := clientNumber(i)
			send(t, loop4, ports[i%3], naming(t, id))
			want[s.ports.setup.steer.Socket(id)]++
		}
		netns.Until(t, "all received", func() bool { n := counts(); return n[0]+n[1]+n[2]+n[3] == want[0]+want[1]+want[2]+want[3] })
		if got := counts(); got != want {
			t.Errorf("round %d: the readers got %v, want %v", round, got, want)
		}
	}
}

// TestFilterAppliesSettings: when commit returns, the kernel accepts the new
// clients, and no others.
func TestFilterAppliesSettings(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	s := start(t, 3, loop4)
	ports, _ := portsOf(3)(minute)
	if got := s.Stats().Filter; got != prefilter.Clients {
		t.Errorf("filter %s", got)
	}
	for _, n := range []int{5, 6, 0, prefilter.MaxIdentifiers + 1, 4} {
		next := *s.settings.Load()
		next.Rules.Table = verifytest.Table(t, clientsUpTo(n)...)
		if err := s.apply(next); err != nil {
			t.Fatal(err)
		}
		want := prefilter.Clients
		if n > prefilter.MaxIdentifiers {
			want = prefilter.Shape
		}
		if got := s.Stats().Filter; got != want {
			t.Errorf("%d clients: filter %s", n, got)
		}
		before := s.Stats()
		for i := range 10 {
			send(t, loop4, ports[0], naming(t, clientNumber(i)))
		}
		known := uint64(min(n, 10))
		netns.Until(t, "all known ones checked", func() bool { return s.Stats().Reasons[verify.MAC] == before.Reasons[verify.MAC]+known })
		if err := s.apply(next); err != nil { // counts the kernel's drops
			t.Fatal(err)
		}
		if got := s.Stats(); got.Kernel != before.Kernel+10-known || got.Received != before.Received+known {
			t.Errorf("%d clients: kernel %d, received %d of 10", n, got.Kernel-before.Kernel, got.Received-before.Received)
		}
	}
}

// TestKernelThatRejectsLargeFilters: the filter has fewer rules, or none, and valid
// knocks are accepted all the same.
func TestKernelThatRejectsLargeFilters(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	const limit = "/proc/sys/net/core/optmem_max"
	for _, row := range []struct {
		bytes  string
		filter prefilter.Level
		log    string
	}{
		{"10000", prefilter.Clients, ""}, // room for one, not for two
		{"4000", prefilter.Shape, "does not check client identifiers"},
		{"100", prefilter.None, "kernel filter not attached"},
	} {
		if err := os.WriteFile(limit, []byte(row.bytes), 0o644); err != nil {
			t.Skipf("this kernel has one net.core.optmem_max for all namespaces: %v", err)
		}
		clients := append(clientsUpTo(500), verifytest.Client(com1))
		s := startWith(t, 3, func(c *Config) { c.Settings.Rules.Table = verifytest.Table(t, clients...) }, loop4)
		ports, _ := portsOf(3)(minute)
		send(t, loop4, ports[0], knock(t, minute, 0, 2))
		<-s.sink
		if got := s.Stats().Filter; got != row.filter {
			t.Errorf("%s bytes: filter %s, want %s", row.bytes, got, row.filter)
		}
		// The same again, in place of what is there.
		next := *s.settings.Load()
		next.Rules.Table = verifytest.Table(t, clients...)
		if err := s.apply(next); err != nil {
			t.Fatal(err)
		}
		if got := s.Stats().Filter; got != row.filter {
			t.Errorf("%s bytes, in place of another: filter %s, want %s", row.bytes, got, row.filter)
		}
		s.stop()
		// Once for each list of clients.
		if row.log != "" && strings.Count(s.log.String(), row.log) != 2 || row.log == "" && strings.Contains(s.log.String(), "WARN") {
			t.Errorf("%s bytes: log %s", row.bytes, s.log)
		}
	}
}

// TestTraceWithoutRoom: if the kernel has room for the filter, and not for that of a trace,
// the filter stays in force for all, and the trace sees less.
func TestTraceWithoutRoom(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	const limit = "/proc/sys/net/core/optmem_max"
	set := func(bytes int) {
		if err := os.WriteFile(limit, []byte(strconv.Itoa(bytes)), 0o644); err != nil {
			t.Skipf("this kernel has one net.core.optmem_max for all namespaces: %v", err)
		}
	}
	set(1 << 20)
	s := startWith(t, 3, func(c *Config) {
		c.Settings.Rules.Table = verifytest.Table(t, append(clientsUpTo(500), verifytest.Client(com1))...)
	}, loop4)
	ports, _ := portsOf(3)(minute)
	table, err := compile(*s.settings.Load(), s.clock.Now()).table(s.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	// The least room in which the filter of a port with most places fits.
	longest := table.Raw(ports[0])
	for port := range table.Ports {
		if raw := table.Raw(port); len(raw) > len(longest) {
			longest = raw
		}
	}
	fits := func(bytes int) bool {
		set(bytes)
		fd := bindUDP(9)
		defer unix.Close(fd)
		return prefilter.AttachRaw(fd, longest) == nil
	}
	set(sort.Search(1<<16, fits))
	trace, refused := tracing(com1, 0)
	if err := s.Trace(t.Context(), trace); err != nil {
		t.Fatal(err)
	}
	before := s.Stats()
	if before.Filter != prefilter.Clients {
		t.Errorf("the filter is %s", before.Filter)
	}
	send(t, loop4, ports[0], naming(t, verifytest.ID("zzzz"))) // of no client
	send(t, loop4, ports[0], knock(t, minute, 0, 2))
	<-s.sink
	if got := s.Stats(); got.Received != before.Received+1 || len(refused) > 0 {
		t.Errorf("received %d, want 1", got.Received-before.Received)
	}
	s.stop()
	if !strings.Contains(s.log.String(), "no room for the trace") {
		t.Errorf("log: %s", s.log)
	}
}

// TestNoDatagramIsLostUncounted fills the queues of all sockets while no reader
// reads, and closes the ports: all that the queues held is read and checked,
// though every processor reads, and the rest is the kernel's to count.
func TestNoDatagramIsLostUncounted(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	readers := make([]*reader, runtime.GOMAXPROCS(0))
	pool, err := ants.NewPool(2 * len(readers))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Release()
	for i := range readers {
		sh := newShard(pool, settingsOf(t, 3), blackHole{}, func() time.Time { return minute.Start().Add(30 * time.Second) }, DefaultQueue)
		readers[i] = socketReader(t, sh)
		defer readers[i].source.close()
	}
	ps := portSetOf(4<<20, readers...)
	wanted := map[uint16][]schedule.Place{}
	for i := range 3 {
		wanted[uint16(20_000+i)] = []schedule.Place{{Minute: minute, Index: int8(i)}}
	}
	accepted := tableOf(verify.Rules{Table: verifytest.Table(t, clientsUpTo(3)...), Ports: 3, Tolerance: time.Minute}, wanted)
	ps.reconcile(accepted, accepted, nil)
	const sent = 40_000
	for i := range 3 {
		c, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", 20_000+i))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for n := range sent {
			d := naming(t, clientNumber(n%3))
			if d[wire.OffsetSequence] = byte(i); n%10 == 0 {
				d[0] = 'X' // refused by the filter
			}
			c.Write(d)
		}
	}
	reconciled := make(chan struct{})
	go func() { ps.reconcile(prefilter.Table{}, prefilter.Table{}, nil); close(reconciled) }()
	for _, r := range readers {
		awaitRemovals(t, r, 3)
		r.stop()
	}
	var running sync.WaitGroup
	for _, r := range readers {
		running.Go(func() {
			if err := r.run(); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	<-reconciled
	kernel, received, dropped := ps.dropped(), uint64(0), uint64(0)
	for _, r := range readers {
		r.shard.wait()
		received += r.shard.received.Load()
		dropped += r.shard.dropped.Load()
	}
	t.Logf("received %d, kernel %d", received, kernel)
	if received+kernel != 3*sent || dropped != 0 || received < 1000 || kernel < 3*sent/10 {
		t.Errorf("received %d, of these dropped %d, kernel %d, of %d", received, dropped, kernel, 3*sent)
	}
}

// TestOthersGetThroughWhenOneQueueIsFull: a flood in one client's name costs
// the clients of the same reader, not those of the others.
func TestOthersGetThroughWhenOneQueueIsFull(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	victims := clientsUpTo(20)
	s := startWith(t, 1, func(c *Config) { c.Settings.Rules.Table = verifytest.Table(t, victims...) }, loop4)
	ports, _ := portsOf(1)(minute)
	flooded := s.ports.setup.steer.Socket(clientNumber(0))
	// As if the flood were more than its worker can check.
	s.shards[flooded].active.Store(true)
	defer s.shards[flooded].drain()
	c, err := net.Dial("udp", netip.AddrPortFrom(loop4, ports[0]).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in := func(i int) []byte {
		return verifytest.Sign(t, wire.Knock{Identifier: clientNumber(i), Timestamp: uint32(minute*60 + 30), Nonce: 7})
	}
	bad := in(0)
	bad[47] ^= 1
	netns.Until(t, "the queue to be full", func() bool {
		for range 1000 {
			c.Write(bad)
		}
		return s.shards[flooded].dropped.Load() > 0
	})
	through := 0
	for i := range victims {
		if s.ports.setup.steer.Socket(clientNumber(i)) == flooded {
			continue
		}
		c.Write(bad)
		c.Write(in(i))
		if got := <-s.sink; got.knock.Identifier() != clientNumber(i) {
			t.Errorf("got %s", got.knock.Identifier())
		}
		through++
	}
	if through == 0 {
		t.Skip("all clients are one reader's: one start in half a million")
	}
}

func TestReceiveBuffer(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	const gigabyte = 1 << 30 // not allowed in a user namespace
	for _, size := range []int{0, 100_000, gigabyte} {
		s := startWith(t, 1, func(c *Config) { c.ReceiveBuffer = size }, loop4)
		var given int
		for _, p := range s.ports.open {
			given, _ = unix.GetsockoptInt(p.sockets[0].fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
		}
		s.stop()
		if size == 100_000 && given != 2*size {
			t.Errorf("buffer %d, want %d", given, 2*size)
		}
		if logged := strings.Contains(s.log.String(), "net.core.rmem_max"); logged != (size == gigabyte) {
			t.Errorf("%d bytes asked for, %d given, log %s", size, given, s.log)
		}
	}
}
