package sessions

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime/pprof"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/verify/verifytest"
)

// slowJournal is slow, as a disk is, and keeps the entries.
type slowJournal struct {
	pause time.Duration
	err   error
	calls [][]Entry
}

func (j *slowJournal) Record(entries []Entry) []error {
	time.Sleep(j.pause)
	if j.err != nil {
		return each(j.err, len(entries))
	}
	j.calls = append(j.calls, slices.Clone(entries))
	return nil
}

func TestGrantWaitsForItsRecord(t *testing.T) {
	f := verifytest.New(t, 2, "com1")
	journal := &slowJournal{pause: time.Second}
	var opened atomic.Int64
	cfg := Config{
		Clients: []Client{{Identifier: verifytest.ID("com1")}}, Journal: journal,
		Gate: gateFunc(func(Grant) error { opened.Store(time.Now().UnixNano()); return nil }),
	}
	var before time.Time
	_, stats := run(t, cfg, func(s *Sessions) {
		before = time.Now()
		s.Deliver(f.Knock(t, "com1", minute, 8, 1), alice)
		s.Deliver(f.Knock(t, "com1", minute, 8, 0), alice)
		time.Sleep(time.Second - 1)
		synctest.Wait()
		if opened.Load() != 0 {
			t.Error("open before it was recorded")
		}
	})
	if after := time.Unix(0, opened.Load()).Sub(before); after != time.Second || stats[Opened] != 1 {
		t.Errorf("opened after %v, stats %v", after, stats)
	}
	if len(journal.calls) != 1 || len(journal.calls[0]) != 1 {
		t.Fatalf("journal %v", journal.calls)
	}
	e := journal.calls[0][0]
	if e.Identifier.String() != "com1" || e.HighestNonce != 9 || e.Stamp != uint32(minute*60) ||
		e.Base != 8 || e.Count != 2 || !e.Ring.Used(8) || !e.Ring.Used(9) || e.Ring.Used(7) {
		t.Errorf("recorded %+v", e)
	}
}

// TestGrantsShareARecord: while one call of the journal runs, the shards continue
// and the grants collect for the next call.
func TestGrantsShareARecord(t *testing.T) {
	const clients = 500
	var ids []string
	var list []Client
	for i := range clients {
		ids = append(ids, fmt.Sprintf("c%03d", i))
		list = append(list, Client{Identifier: verifytest.ID(ids[i])})
	}
	f := verifytest.New(t, 1, ids...)
	journal := &slowJournal{pause: 10 * time.Millisecond}
	grants, stats := run(t, Config{Clients: list, Shards: 2, Journal: journal}, func(s *Sessions) {
		for i, id := range ids {
			s.Deliver(f.Knock(t, id, minute, 0, 0), alice)
			if i == 0 {
				synctest.Wait() // it is being recorded, alone
			}
		}
		synctest.Wait()
		if n := len(s.shards[0].queue) + len(s.shards[1].queue); n != 0 {
			t.Errorf("%d knocks wait for the journal", n)
		}
	})
	if len(grants) != clients || stats[Opened] != clients {
		t.Errorf("%d grants, stats %v", len(grants), stats)
	}
	if len(journal.calls) != 2 {
		t.Errorf("%d calls of the journal", len(journal.calls))
	}
}

// TestBatchStaysABatch: grants that are recorded together reach the gate together,
// and one grant that fails does not prevent the others.
func TestBatchStaysABatch(t *testing.T) {
	ids := []string{"com1", "com2", "com3", "com4"}
	var list []Client
	for _, id := range ids {
		list = append(list, Client{Identifier: verifytest.ID(id)})
	}
	f := verifytest.New(t, 1, ids...)
	journal := &slowJournal{pause: time.Second}
	var batches [][]Grant
	gate := batchFunc(func(grants []Grant) []error {
		if len(journal.calls) != len(batches)+1 || len(journal.calls[len(batches)]) != len(grants) {
			t.Errorf("%d grants opened, of the records %v", len(grants), journal.calls)
		}
		batches = append(batches, slices.Clone(grants))
		if len(grants) == 1 {
			return nil
		}
		errs := make([]error, len(grants))
		errs[1] = errors.New("no room")
		return errs
	})
	_, stats := run(t, Config{Clients: list, Journal: journal, Gate: gate}, func(s *Sessions) {
		for i, id := range ids {
			s.Deliver(f.Knock(t, id, minute, 0, 0), alice)
			if i == 0 {
				synctest.Wait() // it is being recorded, alone
			}
		}
	})
	if len(batches) != 2 || len(batches[0]) != 1 || len(batches[1]) != 3 {
		t.Errorf("batches %v", batches)
	}
	if want := ([NumOutcomes]uint64{Opened: 4, Failed: 1}); stats != want {
		t.Errorf("stats %v, want %v", stats, want)
	}
}

type batchFunc func([]Grant) []error

func (f batchFunc) Open(grants []Grant) []error { return f(grants) }

func TestNothingOpensWithoutItsRecord(t *testing.T) {
	f := verifytest.New(t, 1, "com1")
	journal := &slowJournal{err: errors.New("no room")}
	cfg := Config{Clients: []Client{{Identifier: verifytest.ID("com1")}}, Journal: journal}
	grants, stats := run(t, cfg, func(s *Sessions) {
		s.Deliver(f.Knock(t, "com1", minute, 1, 0), alice)
		synctest.Wait()
		journal.err = nil
		s.Deliver(f.Knock(t, "com1", minute, 1, 0), alice) // its nonce is used
		s.Deliver(f.Knock(t, "com1", minute, 2, 0), alice)
	})
	if want := ([NumOutcomes]uint64{Unrecorded: 1, Replay: 1, Opened: 1}); stats != want || len(grants) != 1 {
		t.Errorf("%d grants, stats %v, want %v", len(grants), stats, want)
	}
}

// TestShardNeverWaits: while the journal hangs, no knock is lost. Of a client's
// attempts that complete meanwhile, the newest of each address family opens.
func TestShardNeverWaits(t *testing.T) {
	f := verifytest.New(t, 1, "com1")
	journal := &slowJournal{pause: time.Hour}
	const attempts = 2000
	address := func(n uint32) netip.Addr {
		if n%2 == 0 {
			return netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})
		}
		a := bob.As16()
		a[15] = byte(n)
		return netip.AddrFrom16(a)
	}
	cfg := Config{Clients: []Client{{Identifier: verifytest.ID("com1")}}, Limit: unlimited, Journal: journal}
	grants, stats := run(t, cfg, func(s *Sessions) {
		s.Deliver(f.Knock(t, "com1", minute, 1, 0), alice)
		synctest.Wait() // it is being recorded, alone
		for n := range uint32(attempts) {
			s.Deliver(f.Knock(t, "com1", minute, 2+n, 0), address(n))
			synctest.Wait()
		}
	})
	id := verifytest.ID("com1")
	// Pending grants are carried out when Run ends.
	want := []Grant{
		{Identifier: id, Address: alice, Minute: minute}, {Identifier: id, Address: address(attempts - 2), Minute: minute},
		{Identifier: id, Address: address(attempts - 1), Minute: minute},
	}
	if !slices.Equal(grants, want) {
		t.Errorf("granted %v, want %v", grants, want)
	}
	if want := ([NumOutcomes]uint64{Opened: 3, Superseded: attempts - 2}); stats != want {
		t.Errorf("stats %v, want %v", stats, want)
	}
	if last := journal.calls[len(journal.calls)-1]; last[len(last)-1].HighestNonce != 1+attempts {
		t.Errorf("the last record is %+v", last)
	}
}

// TestUpdateFlushes: when an update of the list returns, no grant is pending,
// unless its context has ended.
func TestUpdateFlushes(t *testing.T) {
	f := verifytest.New(t, 1, "com1")
	journal := &slowJournal{pause: time.Second}
	run(t, Config{Clients: []Client{{Identifier: verifytest.ID("com1")}}, Journal: journal}, func(s *Sessions) {
		s.Deliver(f.Knock(t, "com1", minute, 1, 0), alice)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		if err := s.change(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if err := s.change(context.Background(), nil); err != nil {
			t.Error(err)
		}
		if got := s.Stats()[Opened]; got != 1 || len(journal.calls) != 1 {
			t.Errorf("%d opened, %d recorded when the update was done", got, len(journal.calls))
		}
	})
}

// TestProfilesNameTheStages reads the labels of the goroutines.
func TestProfilesNameTheStages(t *testing.T) {
	run(t, Config{}, func(*Sessions) {
		synctest.Wait()
		var text strings.Builder
		if err := pprof.Lookup("goroutine").WriteTo(&text, 1); err != nil {
			t.Fatal(err)
		}
		for _, stage := range []string{"session", "record"} {
			if !strings.Contains(text.String(), `"stage":"`+stage+`"`) {
				t.Errorf("no goroutine of the stage %s", stage)
			}
		}
	})
}
