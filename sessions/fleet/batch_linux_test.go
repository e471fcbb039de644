package fleet

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"sallyport/sessions"
	"sallyport/sessions/fleet/cluster"
	"sallyport/sessions/fleet/etcdtest"
	"sallyport/verify/wire"
)

// TestBatch: a batch of many requests is recorded; the conflict of one client, and a value
// that this release cannot read, fail no other; two attempts of one client count both.
func TestBatch(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	a, b := openJournal(t, e.Gateway(t), t.TempDir(), patient), openJournal(t, e.Gateway(t), t.TempDir(), patient)
	t.Cleanup(func() { a.Close(); b.Close() })
	var batch []sessions.Entry
	for i := range uint32(6*cluster.MaxOperations + 5) {
		id := wire.Identifier(binary.BigEndian.AppendUint32(nil, i))
		batch = append(batch, sessions.Entry{Identifier: id, Secret: 7, Base: 10, Count: 3, Stamp: 1})
	}
	batch = append(batch, batch[0]) // of another family
	batch[len(batch)-1].Base = 20
	if errs := a.Record(batch[5:6]); errs != nil {
		t.Fatal(errs)
	}
	if _, err := e.Root().Put(t.Context(), a.key(batch[7].Identifier), "\x02"); err != nil {
		t.Fatal(err)
	}
	errs := b.Record(batch)
	if errs == nil {
		t.Fatal("a replay was recorded")
	}
	for i, err := range errs {
		if errors.Is(err, sessions.ErrUsed) != (i == 5) || errors.Is(err, errUnreadable) != (i == 7) || (err != nil) != (i == 5 || i == 7) {
			t.Errorf("entry %d: %v", i, err)
		}
	}
	again := a.Record(slices.Concat(batch[:5], batch[len(batch)-1:]))
	for i, err := range again {
		if !errors.Is(err, sessions.ErrUsed) {
			t.Errorf("entry %d at the other gateway: %v", i, err)
		}
	}
	if len(again) != 6 {
		t.Errorf("replays were recorded")
	}
}
