package fleet

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"sallyport/sessions"
	"sallyport/sessions/fleet/etcdtest"
	"sallyport/verify/wire"
)

// TestNoNonceTwice: whatever attempts gateways get at the same time, crash between record
// and grant, restart, or lose answers of etcd, no nonce is granted twice; and an attempt
// with new nonces is granted.
func TestNoNonceTwice(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	type host struct {
		way     *etcdtest.Gateway
		dir     string
		journal *Journal
	}
	hosts := make([]*host, 3)
	for i := range hosts {
		hosts[i] = &host{way: e.Gateway(t), dir: t.TempDir()}
		hosts[i].journal = openJournal(t, hosts[i].way, hosts[i].dir, patient)
		t.Cleanup(func() { hosts[i].journal.Close() })
	}
	clients, outer := 0, t
	rapid.Check(t, func(t *rapid.T) {
		clients++
		id := wire.Identifier([]byte(fmt.Sprintf("%04d", clients%10000)))
		entry := func(name string) sessions.Entry {
			return sessions.Entry{
				Identifier: id, Secret: 7, Base: rapid.Uint32Range(0, 40).Draw(t, name), Count: rapid.Uint8Range(1, 4).Draw(t, name+" nonces"),
			}
		}
		var mu sync.Mutex
		granted := map[uint32]int{}
		var failed error
		note := func(list []sessions.Entry, errs []error, crashed bool) {
			mu.Lock()
			defer mu.Unlock()
			for i, e := range list {
				if errs != nil && errs[i] != nil {
					if !errors.Is(errs[i], sessions.ErrUsed) {
						failed = errs[i]
					}
					continue
				}
				for n := range uint32(e.Count) {
					if !crashed {
						granted[e.Base+n]++
					}
				}
			}
		}
		for range rapid.IntRange(1, 4).Draw(t, "steps") {
			var lists [3][]sessions.Entry
			for i := range lists {
				for range rapid.IntRange(0, 2).Draw(t, fmt.Sprintf("attempts at %d", i)) {
					lists[i] = append(lists[i], entry("base"))
				}
			}
			// The attempts of one batch have no nonce in common: the window refuses that.
			for i, l := range lists {
				if len(l) == 2 && l[0].Base < l[1].Base+uint32(l[1].Count) && l[1].Base < l[0].Base+uint32(l[0].Count) {
					lists[i] = l[:1]
				}
			}
			crash := rapid.IntRange(-3, 2).Draw(t, "crash")
			var all sync.WaitGroup
			for i, h := range hosts {
				if len(lists[i]) > 0 {
					all.Go(func() { note(lists[i], h.journal.Record(lists[i]), i == crash) })
				}
			}
			all.Wait()
			if failed != nil {
				t.Fatalf("unavailable: %v", failed)
			}
			if crash >= 0 {
				h := hosts[crash]
				h.journal.Close()
				h.journal = openJournal(outer, h.way, h.dir, patient)
			}
		}
		for n, times := range granted {
			if times > 1 {
				t.Fatalf("nonce %d was granted %d times", n, times)
			}
		}
		next := sessions.Entry{Identifier: id, Secret: 7, Base: 50, Count: 3}
		at := rapid.IntRange(0, 2).Draw(t, "the last gateway")
		if errs := hosts[at].journal.Record([]sessions.Entry{next}); errs != nil {
			t.Fatalf("a new attempt: %v", errs)
		}
		errs := hosts[(at+1)%3].journal.Record([]sessions.Entry{next})
		if errs == nil || !errors.Is(errs[0], sessions.ErrUsed) {
			t.Fatalf("its replay at another gateway: %v", errs)
		}
	})
}

// TestLostAnswer: etcd has made the record, and its answer is lost: the gateway sends the
// request again, and recognises its own record. If another gateway has written meanwhile,
// the attempt is refused, as its own write is lost.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	way := e.Gateway(t)
	a, b := openJournal(t, way, t.TempDir(), patient), openJournal(t, e.Gateway(t), t.TempDir(), patient)
	t.Cleanup(func() { a.Close(); b.Close() })
	for base, other := range map[uint32]bool{10: false, 20: true} {
		mine := []sessions.Entry{{Identifier: wire.Identifier([]byte("com1")), Secret: 7, Base: base, Count: 3}}
		before, err := e.Root().Get(t.Context(), a.key(mine[0].Identifier))
		if err != nil {
			t.Fatal(err)
		}
		warm := []sessions.Entry{{Identifier: wire.Identifier([]byte("com2")), Secret: 7, Base: base, Count: 3}}
		if errs := a.Record(warm); errs != nil { // the connection is open
			t.Fatal(errs)
		}
		way.To(0).Hold(false, true)
		result := make(chan []error)
		go func() { result <- a.Record(mine) }()
		wait(t, "the record", func() bool {
			now, err := e.Root().Get(t.Context(), a.key(mine[0].Identifier))
			return err == nil && len(now.Kvs) > 0 && (len(before.Kvs) == 0 || now.Kvs[0].ModRevision > before.Kvs[0].ModRevision)
		})
		if other {
			later := mine[0]
			later.Base += 5
			if errs := b.Record([]sessions.Entry{later}); errs != nil {
				t.Fatal(errs)
			}
		}
		way.To(0).Cut()
		way.To(0).Heal()
		errs := <-result
		if refused := errs != nil && errors.Is(errs[0], sessions.ErrUsed); refused != other || errs != nil && !refused {
			t.Errorf("another gateway wrote: %v; got %v", other, errs)
		}
		if errs := b.Record(mine); errs == nil {
			t.Error("a replay at another gateway was recorded")
		}
	}
}
