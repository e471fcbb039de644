package roster

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"sallyport/sessions/fleet/etcdtest"
	"sallyport/verify/wire"
)

// BenchmarkList writes, reads and changes lists with lines of 60 bytes, on three members. All
// times are of one editor and one gateway:
//
//	replace-s   Replace of an empty list, and of a list of the same size (switch-s)
//	load-s      Load
//	follow-s    from the switch until the gateway that follows has the list
//	edit-ms     Edit of one client, median; seen-ms until the gateway has it
//	heap-B/client   of the gateway, without the lines
//	database-B/client   of etcd, with both lists
func BenchmarkList(b *testing.B) {
	for _, clients := range []int{1000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			for range b.N {
				benchmarkList(b, clients)
			}
		})
	}
}

// numbered is a list of a size.
func numbered(clients int, secret string) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for i := range uint32(clients) {
			x := wire.Identifier(binary.BigEndian.AppendUint32(nil, i))
			line := fmt.Appendf(nil, "%08x %32s 0 services=web", i, secret)
			if !yield(Entry{x, line}) {
				return
			}
		}
	}
}

func benchmarkList(b *testing.B, clients int) {
	e := etcdtest.Start(b, etcdtest.Options{Members: 3, Quota: 4 << 30})
	w := newWorld(b, e)
	editor := w.open(b, "")
	took := func(name string, do func() error) {
		start := time.Now()
		if err := do(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(start).Seconds(), name)
	}
	took("replace-s", func() error { return editor.Replace(b.Context(), numbered(clients, "first")) })
	took("load-s", func() error {
		list, _, err := editor.Load(b.Context())
		if err == nil && len(list) != clients {
			err = fmt.Errorf("%d clients", len(list))
		}
		return err
	})
	before := heap()
	r := w.open(b, "")
	applied := make(chan []Change, 1)
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		r.Follow(ctx, func(_ Mark, all bool, changes []Change) error {
			if all {
				changes = nil
			}
			applied <- changes
			return nil
		}, nil)
	})
	<-applied
	b.ReportMetric(float64(heap()-before)/float64(clients), "heap-B/client")
	var edits, seen []time.Duration
	for i := range 50 {
		x := wire.Identifier(binary.BigEndian.AppendUint32(nil, uint32(i)))
		start := time.Now()
		err := editor.Edit(b.Context(), []wire.Identifier{x}, func(now map[wire.Identifier][]byte) ([]Change, error) {
			return []Change{{x, append(now[x], " note=changed"...)}}, nil
		})
		if err != nil {
			b.Fatal(err)
		}
		edits = append(edits, time.Since(start))
		if got := <-applied; len(got) != 1 || got[0].ID != x {
			b.Fatalf("%d changes", len(got))
		}
		seen = append(seen, time.Since(start))
	}
	b.ReportMetric(median(edits), "edit-ms")
	b.ReportMetric(median(seen), "seen-ms")
	done := make(chan time.Time, 1)
	go func() { <-applied; done <- time.Now() }()
	var steps int
	var switched time.Time
	editor.step = func() {
		if steps++; steps == clients/batchSize+2 { // after the claim and the batches
			switched = time.Now()
		}
	}
	took("switch-s", func() error { return editor.Replace(b.Context(), numbered(clients, "second")) })
	b.ReportMetric((<-done).Sub(switched).Seconds(), "follow-s")
	status, err := e.Root().Status(b.Context(), e.Root().Endpoints()[0])
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(status.DbSize)/float64(clients), "database-B/client")
	b.ReportMetric(0, "ns/op")
}

func median(d []time.Duration) float64 {
	slices.Sort(d)
	return float64(d[len(d)/2]) / 1e6
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
