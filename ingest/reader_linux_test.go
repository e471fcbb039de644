package ingest

import (
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/panjf2000/ants/v2"

	"sallyport/bench/netns"
	"sallyport/ingest/prefilter"
	"sallyport/ingest/udp"
	"sallyport/verify"
	"sallyport/verify/schedule"
)

// socketReader is a reader of sockets, of a shard that the test made.
func socketReader(t *testing.T, sh *shard) *reader {
	t.Helper()
	src, err := newSocketSource()
	if err != nil {
		t.Fatal(err)
	}
	return newReader(src, sh)
}

// portSetOf is one for readers of sockets.
func portSetOf(buffer int, readers ...*reader) *portSet {
	log := slog.New(slog.DiscardHandler)
	var sources []*socketSource
	for _, r := range readers {
		sources = append(sources, r.source.(*socketSource))
	}
	return newPortSet(udp.Addresses{loop4}, sources, newSetup(buffer, len(readers), log), false, log)
}

// tableOf is what rules come to at ports.
func tableOf(r verify.Rules, ports map[uint16][]schedule.Place) prefilter.Table {
	return prefilter.Table{Maximum: int8(r.Ports - 1), Ports: ports, Identifiers: compile(Settings{Rules: r}, time.Unix(0, 0)).identifiers}
}

// awaitRemovals waits until n sockets wait to be closed.
func awaitRemovals(t *testing.T, r *reader, n int) {
	t.Helper()
	src := r.source.(*socketSource)
	netns.Until(t, "the removal", func() bool { src.mu.Lock(); defer src.mu.Unlock(); return len(src.removed) == n })
}

// TestNothingIsLeftOpen starts and stops with a change of ports in between,
// and compares the descriptors before and after.
func TestNothingIsLeftOpen(t *testing.T) {
	t.Parallel()
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
		if err := s.apply(*s.settings.Load()); err != nil {
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
	r := socketReader(t, newShard(pool, settingsOf(t, 1), make(sink, 1), time.Now, DefaultQueue))
	ps := portSetOf(0, r)
	r.stop()
	table := tableOf(rules(t, 1), map[uint16][]schedule.Place{20_000: {{Minute: minute}}})
	ps.reconcile(table, table, nil)
	if err := r.run(); err != nil {
		t.Fatal(err)
	}
	r.source.close()
	if after := descriptors(); after != before {
		t.Errorf("%d descriptors before, %d after a late socket", before, after)
	}
}

func TestRotationKeepsWhatIsQueued(t *testing.T) {
	t.Parallel()
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
	sh := newShard(pool, settingsOf(t, 1), got, func() time.Time { return minute.Start().Add(30 * time.Second) }, DefaultQueue)
	r := socketReader(t, sh)
	defer r.source.close()
	ps := portSetOf(0, r)
	table := tableOf(rules(t, 1), map[uint16][]schedule.Place{20_000: {{Minute: minute, Index: 0}}})
	ps.reconcile(table, table, nil)
	for range 150 {
		send(t, loop4, 20_000, knock(t, minute, 0, 0))
	}
	reconciled := make(chan struct{})
	go func() { ps.reconcile(prefilter.Table{}, prefilter.Table{}, nil); close(reconciled) }()
	awaitRemovals(t, r, 1)
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
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	pool, err := ants.NewPool(2)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Release()
	got := make(sink, 1024)
	sh := newShard(pool, settingsOf(t, 128), got, func() time.Time { return minute.Start().Add(30 * time.Second) }, DefaultQueue)
	r := socketReader(t, sh)
	defer r.source.close()
	ps := portSetOf(0, r)
	ports, _ := portsOf(128)(minute)
	wanted := map[uint16][]schedule.Place{}
	for i, p := range ports {
		wanted[p] = []schedule.Place{{Minute: minute, Index: int8(i)}}
	}
	table := tableOf(rules(t, 128), wanted)
	ps.reconcile(table, table, nil)
	sh.active.Store(true) // nothing is drained while the reader reads
	done := make(chan error)
	go func() { done <- r.run() }()
	for i, p := range ports {
		send(t, loop4, p, knock(t, minute, i, 127))
		time.Sleep(100 * time.Microsecond) // so that most come in separate rounds
	}
	ps.reconcile(prefilter.Table{}, prefilter.Table{}, nil) // reads what is left
	r.stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	sh.drain()
	if len(got) != 128 || sh.dropped.Load() != 0 {
		t.Errorf("%d knocks came through, %d were dropped", len(got), sh.dropped.Load())
	}
}

// TestFullRingDropsAndCounts: the queue of the configuration bounds how many batches
// wait. The memory for them exists from the start.
func TestFullRingDropsAndCounts(t *testing.T) {
	pool, err := ants.NewPool(2)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Release()
	for datagrams, size := range map[int]int{MinQueue: 8, MinQueue + 1: 16, DefaultQueue: 64, 10_000: 256, MaxQueue: 4096} {
		sh := newShard(pool, settingsOf(t, 1), make(sink, 1), time.Now, datagrams)
		sh.active.Store(true) // as if a task were stuck: nothing is drained
		b := sh.next()
		for i := range size + 5 {
			b.n = 3
			if taken := sh.push(b); taken != (i < size) {
				t.Fatalf("queue of %d: push %d: %v", datagrams, i, taken)
			} else if taken {
				if b = sh.next(); b == nil {
					t.Fatalf("queue of %d: push %d: no free batch", datagrams, i)
				}
			}
		}
		if got := QueueSize(datagrams); got != size*batchSize {
			t.Errorf("queue of %d: %d datagrams may wait", datagrams, got)
		}
		if room := QueueMemory(datagrams) / (size + ownBatches); room < 100*batchSize || room > 128*batchSize {
			t.Errorf("queue of %d: %d bytes for a batch", datagrams, room)
		}
		sh.drain()
		if got, want := sh.dropped.Load(), uint64(15); got != want {
			t.Errorf("queue of %d: dropped %d, want %d", datagrams, got, want)
		}
		if got := sh.reasons[verify.Size].Load(); got != uint64(size*3) {
			t.Errorf("queue of %d: checked %d", datagrams, got)
		}
	}
}

// TestQueueRange: New refuses a queue outside the range, which bounds the memory.
func TestQueueRange(t *testing.T) {
	for _, n := range []int{-1, 1, MinQueue - 1, MaxQueue + 1} {
		cfg := Config{Settings: *settingsOf(t, 1).Load(), Sink: make(sink, 1), Now: time.Now, Log: slog.New(slog.DiscardHandler), Queue: n}
		_, err := New(cfg)
		if err == nil || !strings.Contains(err.Error(), "expected a queue of 512 to 262144 datagrams") {
			t.Errorf("%d: %v", n, err)
		}
	}
}

func TestNoAllocationADatagram(t *testing.T) { // so it runs alone
	if !netns.Enter(t) {
		return
	}
	fd, err := udp.Socket{Shared: true}.Open(netip.AddrPortFrom(loop4, 20_000))
	if err != nil {
		t.Fatal(err)
	}
	p := &port{}
	p.places.Store(&[]schedule.Place{{Minute: minute, Index: 0}})
	pool, err := ants.NewPool(2, ants.WithPreAlloc(true), ants.WithDisablePurge(true))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Release()
	got := make(sink, 64*200)
	sh := newShard(pool, settingsOf(t, 1), got, func() time.Time { return minute.Start() }, DefaultQueue)
	r := socketReader(t, sh)
	defer r.source.close()
	src := r.source.(*socketSource)
	if err := src.add(&socket{fd: fd, port: p, source: src}); err != nil {
		t.Fatal(err)
	}
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
			if err := src.fill(r.batch, -1); err != nil {
				t.Fatal(err)
			}
		}
		r.flush()
		sh.wait()
	}
	round()
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations for %d datagrams", n, len(datagrams))
	}
}
