package fleet

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sallyport/sessions"
	"sallyport/sessions/fleet/cluster"
	"sallyport/sessions/fleet/etcdtest"
	"sallyport/verify/wire"
)

// BenchmarkRecord records attempts of different clients on three members: how many a
// second, by one gateway or three, each with a batch at a time. With batch=1 it measures
// how long one takes; roundtrips is its median divided by that of a write of one key, in
// the same run.
func BenchmarkRecord(b *testing.B) {
	for _, gateways := range []int{1, 3} {
		for _, batch := range []int{1, 126, 1000} {
			b.Run(fmt.Sprintf("gateways=%d/batch=%d", gateways, batch), func(b *testing.B) { benchmarkRecord(b, gateways, batch) })
		}
	}
}

func benchmarkRecord(b *testing.B, gateways, batch int) {
	e := etcdtest.Start(b, etcdtest.Options{Members: 3})
	var journals []*Journal
	for range gateways {
		way := e.Gateway(b)
		j, err := Open(Config{
			Cluster: cluster.Config{Endpoints: way.Endpoints(), Timeout: patient, Log: slog.New(slog.DiscardHandler)}, Dir: b.TempDir(), Local: disk{},
			Registered: func(wire.Identifier) bool { return true }, Wall: wall, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			b.Fatal(err)
		}
		defer j.Close()
		journals = append(journals, j)
	}
	write := func() error {
		_, err := journals[0].cluster.Txn(context.Background(), nil, []clientv3.Op{clientv3.OpPut(journals[0].cluster.Key("benchmark"), "x")}, nil)
		return err
	}
	for range 20 { // until the connections exist
		if err := write(); err != nil {
			b.Fatal(err)
		}
	}
	times := make([][]time.Duration, gateways)
	var trips []time.Duration
	start := time.Now()
	b.ResetTimer()
	var all sync.WaitGroup
	for g, j := range journals {
		all.Go(func() {
			for i := range b.N {
				begin := time.Now()
				for _, err := range j.Record(attempts(g, i, batch)) {
					if err != nil {
						b.Error(err)
						return
					}
				}
				times[g] = append(times[g], time.Since(begin))
			}
		})
	}
	all.Wait()
	b.StopTimer()
	total := time.Since(start)
	for range 50 {
		begin := time.Now()
		if err := write(); err != nil {
			b.Fatal(err)
		}
		trips = append(trips, time.Since(begin))
	}
	p50 := median(slices.Concat(times...))
	b.ReportMetric(float64(gateways*batch*b.N)/total.Seconds(), "grants/s")
	b.ReportMetric(p50.Seconds()*1000, "p50-ms")
	b.ReportMetric(p50.Seconds()/median(trips).Seconds(), "roundtrips")
}

// attempts are a batch of clients that no other batch has.
func attempts(gateway, round, n int) []sessions.Entry {
	list := make([]sessions.Entry, n)
	for i := range list {
		var id wire.Identifier
		binary.BigEndian.PutUint32(id[:], uint32(gateway)<<30|uint32(round*n+i))
		list[i] = sessions.Entry{Identifier: id, Secret: 1, HighestNonce: 12, Base: 10, Count: 3, Stamp: uint32(wall().Unix())}
	}
	return list
}

func median(list []time.Duration) time.Duration {
	slices.Sort(list)
	return list[len(list)/2]
}
