package fleet

import (
	"context"
	"encoding/binary"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sallyport/sessions"
	"sallyport/sessions/fleet/cluster"
	"sallyport/sessions/fleet/etcdtest"
	"sallyport/verify/wire"
)

// TestLargeValues: values of 1 MiB, which a gateway that was taken over can write, keep
// neither other clients out, nor the view from them; and no answer of etcd takes more memory
// than cluster.TooLarge allows.
func TestLargeValues(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	a := openJournal(t, e.Gateway(t), t.TempDir(), patient)
	t.Cleanup(func() { a.Close() })
	const clients, large = cluster.MaxOperations, 18
	var batch []sessions.Entry
	for i := range uint32(clients) {
		id := wire.Identifier(binary.BigEndian.AppendUint32(nil, i))
		batch = append(batch, sessions.Entry{Identifier: id, Secret: 7, Base: 10, Count: 3, Stamp: 1})
	}
	garbage := strings.Repeat("x", 1<<20)
	for i := range large {
		if _, err := e.Root().Put(t.Context(), a.key(batch[i].Identifier), garbage); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.cluster.Get(t.Context(), a.cluster.Key(nonces), clientv3.WithPrefix()); !cluster.TooLarge(err) {
		t.Errorf("all values in one answer: %v", err)
	}
	errs := a.Record(batch)
	if len(errs) != clients {
		t.Fatalf("%d errors", len(errs))
	}
	for i, err := range errs {
		if (err != nil) != (i < large) {
			t.Errorf("client %d: %v", i, err)
		}
	}
	var learned atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	b := openJournal(t, e.Gateway(t), t.TempDir(), patient)
	var running sync.WaitGroup
	running.Go(func() {
		b.Run(ctx, func(_ context.Context, list []sessions.Entry) error { learned.Add(int64(len(list))); return nil })
	})
	wait(t, "the view of the others", func() bool { return learned.Load() == clients-large })
	stop()
	running.Wait()
	b.Close()
}
