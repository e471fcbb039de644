package fleet

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/fleet/cluster"
	"sallyport/sessions/fleet/etcdtest"
	"sallyport/verify/wire"
)

// testContended: a gateway that writes a client's key all the time delays the others of a
// batch by a few requests only.
func testContended(t *testing.T, e *etcdtest.Cluster) {
	way := e.Gateway(t)
	a, b := openJournal(t, way, t.TempDir(), patient), openJournal(t, e.Gateway(t), t.TempDir(), patient)
	t.Cleanup(func() { a.Close(); b.Close() })
	mine := []sessions.Entry{
		{Identifier: wire.Identifier([]byte("com5")), Secret: 7, Base: 1, Count: 3},
		{Identifier: wire.Identifier([]byte("com6")), Secret: 7, Base: 1, Count: 3},
	}
	if errs := a.Record(mine); errs != nil {
		t.Fatal(errs)
	}
	ctx, stop := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	defer func() { stop(); writer.Wait() }()
	begun := make(chan bool)
	writer.Go(func() {
		hostile := sessions.Entry{Identifier: mine[0].Identifier, Secret: 8, Count: 1}
		for ctx.Err() == nil {
			hostile.Base++
			b.Record([]sessions.Entry{hostile})
			if hostile.Base == 1 {
				close(begun)
			}
		}
	})
	<-begun
	way.To(0).Delay(25 * time.Millisecond)
	mine[0].Base, mine[1].Base = 10, 10
	errs := a.Record(mine)
	if len(errs) != 2 || !errors.Is(errs[0], errContended) || errs[1] != nil {
		t.Errorf("got %v", errs)
	}
}

// TestGapsAreLoggedOnce: records that are deleted again and again fill no log.
func TestGapsAreLoggedOnce(t *testing.T) {
	p, err := readPosition(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	now := wall()
	j := &Journal{
		view: newView(), position: p, wall: func() time.Time { return now }, elapsed: func() time.Duration { return now.Sub(wall()) },
		log: slog.New(slog.NewTextHandler(&log, nil)),
	}
	for range 119 {
		j.gap(errDeleted, cluster.Position{Cluster: 1, Revision: 1})
		now = now.Add(time.Second)
	}
	if n := strings.Count(log.String(), "\n"); n != 2 || j.Stats().Gaps != 119 {
		t.Errorf("%d lines, %d gaps", n, j.Stats().Gaps)
	}
}
