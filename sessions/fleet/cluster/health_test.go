package cluster

import (
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// TestProbeReadsOneKey: the reads of idle gateways cost etcd the same, however many keys it
// has.
func TestProbeReadsOneKey(t *testing.T) {
	if op := clientv3.OpGet(DefaultPrefix, probeOptions...); op.RangeBytes() != nil || op.IsSerializable() {
		t.Errorf("it reads the range to %q, from one member: %t", op.RangeBytes(), op.IsSerializable())
	}
}
