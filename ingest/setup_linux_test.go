package ingest

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/panjf2000/ants/v2"
	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/ingest/prefilter"
	"sallyport/verify"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// naming is a datagram in a client's name.
func naming(t testing.TB, id wire.Identifier) []byte {
	b := knock(t, minute, 0, 2)
	copy(b[wire.OffsetIdentifier:], id[:])
	return b
}

func clientNumber(i int) wire.Identifier { return wire.Identifier([]byte(fmt.Sprintf("%04d", i))) }

// TestFloodInOneNameFillsOneQueue: each client has one reader, before and after
// the ports have changed.
func TestFloodInOneNameFillsOneQueue(t *testing.T) {
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
		if err := s.Update(t.Context(), *s.terms.Load()); err != nil {
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
		wait(t, "all received", func() bool { n := counts(); return n[0]+n[1]+n[2]+n[3] == want[0]+want[1]+want[2]+want[3] })
		if got := counts(); got != want {
			t.Errorf("round %d: the readers got %v, want %v", round, got, want)
		}
	}
}

// TestFilterFollowsTheTerms: when Update returns, the kernel lets in who is
// new, and nobody else.
func TestFilterFollowsTheTerms(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	s := start(t, 3, loop4)
	ports, _ := portsOf(3)(minute)
	if got := s.Stats().Filter; got != ClientsFilter {
		t.Errorf("filter %s", got)
	}
	for _, n := range []int{5, 6, 0, prefilter.MaxIdentifiers + 1, 4} {
		var clients []verify.Client
		for i := range n {
			clients = append(clients, verify.Client{Identifier: clientNumber(i), Secret: secret})
		}
		table, err := verify.NewTable(clients)
		if err != nil {
			t.Fatal(err)
		}
		terms := *s.terms.Load()
		terms.Rules.Table = table
		if err := s.Update(t.Context(), terms); err != nil {
			t.Fatal(err)
		}
		want := ClientsFilter
		if n > prefilter.MaxIdentifiers {
			want = ShapeFilter
		}
		if got := s.Stats().Filter; got != want {
			t.Errorf("%d clients: filter %s", n, got)
		}
		before := s.Stats()
		for i := range 10 {
			send(t, loop4, ports[0], naming(t, clientNumber(i)))
		}
		known := uint64(min(n, 10))
		wait(t, "all known ones checked", func() bool { return s.Stats().Reasons[verify.MAC] == before.Reasons[verify.MAC]+known })
		if err := s.Update(t.Context(), terms); err != nil { // counts the kernel's drops
			t.Fatal(err)
		}
		if got := s.Stats(); got.Kernel != before.Kernel+10-known || got.Received != before.Received+known {
			t.Errorf("%d clients: kernel %d, received %d of 10", n, got.Kernel-before.Kernel, got.Received-before.Received)
		}
	}
}

// TestKernelThatTakesNoLargeFilter: then fewer rules, or none, and what is good
// gets in all the same.
func TestKernelThatTakesNoLargeFilter(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	const limit = "/proc/sys/net/core/optmem_max"
	for _, row := range []struct {
		bytes  string
		filter Filter
		log    string
	}{{"4000", ShapeFilter, "does not refuse unknown clients"}, {"100", NoFilter, "refuses nothing on its own"}} {
		if err := os.WriteFile(limit, []byte(row.bytes), 0o644); err != nil {
			t.Skipf("this kernel has one net.core.optmem_max for all namespaces: %v", err)
		}
		var clients []verify.Client
		for i := range 500 {
			clients = append(clients, verify.Client{Identifier: clientNumber(i), Secret: secret})
		}
		clients = append(clients, verify.Client{Identifier: com1, Secret: secret})
		table, err := verify.NewTable(clients)
		if err != nil {
			t.Fatal(err)
		}
		s := startWith(t, 3, func(c *Config) { c.Terms.Rules.Table = table }, loop4)
		ports, _ := portsOf(3)(minute)
		send(t, loop4, ports[0], knock(t, minute, 0, 2))
		<-s.sink
		if got := s.Stats().Filter; got != row.filter {
			t.Errorf("%s bytes: filter %s, want %s", row.bytes, got, row.filter)
		}
		s.stop()
		if strings.Count(s.log.String(), row.log) != 1 {
			t.Errorf("%s bytes: log %s", row.bytes, s.log)
		}
	}
}

// TestNoDatagramIsLostUncounted fills a queue while nobody reads, and closes
// the port: what the queue held is read, the rest is the kernel's to count.
func TestNoDatagramIsLostUncounted(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	pool, err := ants.NewPool(2)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Release()
	got := make(sink, 4096)
	sh := newShard(pool, termsOf(t, 1), got, func() time.Time { return minute.Start().Add(30 * time.Second) })
	r, err := newReader(sh)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	ps := portSetOf(r)
	ps.reconcile(map[uint16][]schedule.Place{20_000: {{Minute: minute, Index: 0}}}, rules(t, 1))
	const sent = 3000
	for i := range sent {
		d := knock(t, minute, 0, 0)
		if i%3 == 0 {
			d[0] = 'X' // refused by the filter
		}
		send(t, loop4, 20_000, d)
	}
	reconciled := make(chan struct{})
	go func() { ps.reconcile(nil, rules(t, 1)); close(reconciled) }()
	wait(t, "the removal", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return len(r.removed) == 1 })
	r.stop()
	if err := r.run(); err != nil {
		t.Fatal(err)
	}
	<-reconciled
	sh.wait()
	kernel := ps.kernel.Load() + sh.kernel.Load()
	if received := sh.received.Load(); received+kernel != sent || received == 0 || kernel <= sent/3 {
		t.Errorf("received %d, kernel %d, of %d", received, kernel, sent)
	}
}

func TestReceiveBuffer(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	for _, size := range []int{0, 100_000, 1 << 40} {
		s := startWith(t, 1, func(c *Config) { c.ReceiveBuffer = min(size, 1<<30) }, loop4)
		var given int
		for _, p := range s.ports.open {
			given, _ = unix.GetsockoptInt(p.sockets[0].fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
		}
		s.stop()
		if size == 100_000 && given != 2*size {
			t.Errorf("buffer %d, want %d", given, 2*size)
		}
		// Nobody in a user namespace may have a gigabyte.
		if told := strings.Contains(s.log.String(), "net.core.rmem_max"); told != (size > 1<<30) {
			t.Errorf("%d bytes asked for, %d given, log %s", size, given, s.log)
		}
	}
}

func TestFilterNames(t *testing.T) {
	if got := fmt.Sprint(NoFilter, ShapeFilter, ClientsFilter, Filter(9)); got != "none shape clients unknown" {
		t.Error(got)
	}
}
