package xdp

import (
	"fmt"
	"runtime"
	"testing"

	"sallyport/bench/netns"
	"sallyport/ingest/prefilter"
	"sallyport/ingest/prefilter/prefiltertest"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// TestMove: the program accepts a client while its entry moves to its first bucket, also
// when it has looked there before, and looks at the other one afterwards.
func TestMove(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	r := newRig(t, Sizes{})
	s := mapProgram(t, r.Program)
	client := com1
	for i := 2; s.buckets(entryID(client))[0] == s.buckets(entryID(client))[1]; i++ {
		client = wire.Identifier(fmt.Appendf(nil, "com%d", i))
	}
	s.Set(prefilter.Table{
		Maximum: 2, Ports: map[uint16][]schedule.Place{livePort: {{Minute: prefiltertest.Minute, Index: 1}}},
		Identifiers: prefilter.NewIdentifiers([]wire.Identifier{client}),
	})
	id, frame := entryID(client), knock(func(k *wire.Knock) { k.Identifier = client })
	both := s.buckets(id)
	if e := s.find(id); both[1].entry(id) == nil {
		s.fill(both[1].entry(0), id, 0, 0)
		s.freeEntry(e)
	}
	r.beat()
	ended := make(chan error, 1)
	go func() {
		_, _, err := r.native.Benchmark(frame, 1<<21, nil)
		ended <- err
	}()
	// await waits until the program has seen the last change from its begin: with two
	// moves in a run, an entry can always be where the program has just looked.
	await := func() {
		all := func() (n uint64) {
			for _, c := range s.Counts() {
				n += c
			}
			return n
		}
		for from := all(); all() < from+2 && len(ended) == 0; {
			runtime.Gosched()
		}
	}
	moves := 0
	for ; len(ended) == 0; moves++ {
		await()
		if !s.move(both[1].entry(id)) {
			t.Fatal("the entry does not move")
		}
		await()
		s.fill(both[1].entry(0), id, 0, 0)
		s.freeEntry(both[0].entry(id))
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if n := s.Counts(); n[CountIdentifier] > 0 {
		t.Errorf("%d of %d knocks are refused while the entry of their client moves %d times", n[CountIdentifier], n[CountIdentifier]+n[CountSocket], moves)
	}
}
