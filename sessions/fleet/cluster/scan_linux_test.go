package cluster

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sallyport/sessions/fleet/etcdtest"
)

// TestScan: every key occurs once, in order, wherever the keys of a prefix are close
// together, far apart, longer or shorter than others.
func TestScan(t *testing.T) {
	t.Parallel()
	e, g := gateway(t, etcdtest.Options{})
	c := open(t, Config{Endpoints: g.Endpoints(), Timeout: time.Minute})
	var want []string
	add := func(format string, from, to int) {
		for i := from; i < to; i++ {
			want = append(want, fmt.Sprintf(format, i))
		}
	}
	add("com%d", 0, 400)
	add("the same beginning %04d", 0, pageSize+50)
	for i := range uint32(pageSize + 100) {
		want = append(want, string(binary.BigEndian.AppendUint32(nil, i)), string(binary.BigEndian.AppendUint32(nil, i*2_654_435_761)))
	}
	want = append(want, "", "\x00", "\xff", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\xff\xff\xff\xff\xff\xff\xff\xff")
	slices.Sort(want)
	want = slices.Compact(want)
	for keys := range slices.Chunk(want, MaxOperations) {
		var ops []clientv3.Op
		for _, k := range keys {
			ops = append(ops, clientv3.OpPut(DefaultPrefix+"n/"+k, "v"))
		}
		if _, err := e.Root().Txn(t.Context()).Then(ops...).Commit(); err != nil {
			t.Fatal(err)
		}
	}
	for _, k := range []string{"m/x", "n", "n0", "o"} {
		if _, err := e.Root().Put(t.Context(), DefaultPrefix+k, "of others"); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	pages := 0
	_, err := c.Scan(t.Context(), "n/", 0, func(page []Change) error {
		pages++
		for _, x := range page {
			got = append(got, x.Key)
		}
		return nil
	})
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%d keys, want %d; %v", len(got), len(want), err)
	}
	if pages > 40 {
		t.Errorf("%d pages", pages)
	}
}
