package fleet

import (
	"strings"
	"testing"
)

const page = `# HELP etcd_mvcc_put_total Total number of puts seen by this member.
# TYPE etcd_mvcc_put_total counter
etcd_mvcc_put_total 40
etcd_mvcc_db_total_size_in_bytes 4096
etcd_debugging_mvcc_events_total 120
etcd_network_client_grpc_received_bytes_total 1000
etcd_network_client_grpc_sent_bytes_total 2.5e+03
grpc_server_handled_total{grpc_code="OK",grpc_method="Txn",grpc_service="etcdserverpb.KV",grpc_type="unary"} 30
grpc_server_handled_total{grpc_code="Unavailable",grpc_method="Txn",grpc_service="etcdserverpb.KV",grpc_type="unary"} 2
grpc_server_handled_total{grpc_code="OK",grpc_method="Range",grpc_service="etcdserverpb.KV",grpc_type="unary"} 7
grpc_server_handled_total{grpc_code="OK",grpc_method="DeleteRange",grpc_service="etcdserverpb.KV",grpc_type="unary"} 100
grpc_server_handled_total{grpc_code="OK",grpc_method="LeaseGrant",grpc_service="etcdserverpb.Lease",grpc_type="unary"} 3
grpc_server_handled_total{grpc_code="OK",grpc_method="LeaseKeepAlive",grpc_service="etcdserverpb.Lease",grpc_type="bidi_stream"} 4
`

func TestMetrics(t *testing.T) {
	m, err := readMetrics(strings.NewReader(page))
	want := Cost{Transactions: 32, Reads: 7, Leases: 3, Renewals: 4, Writes: 40, Events: 120, Sent: 2500, Received: 1000}
	if err != nil || m.Cost != want || m.database != 4096 {
		t.Errorf("%v, got %+v", err, m.Cost)
	}
	// Each member carries out all writes, and answers its own requests.
	all := combine([]metrics{m, m, {Cost: Cost{Writes: 40}}})
	if all.Writes != 40 || all.Transactions != 64 {
		t.Errorf("of three members: %+v", all)
	}
	if half := all.plus(want, -1).over(2); half.Transactions != 16 || half.Sent != 1250 || half.Writes != 0 {
		t.Errorf("half of the difference: %+v", half)
	}
	if got := (Cost{Reads: -1, Writes: 2}).positive(); got != (Cost{Writes: 2}) {
		t.Errorf("negative parts: %+v", got)
	}
	for what, text := range map[string]string{
		"no number":             strings.Replace(page, "put_total 40", "put_total many", 1),
		"no requests":           strings.ReplaceAll(page, "grpc_server_handled", "grpc_server_started"),
		"no bytes that it sent": strings.Replace(page, "grpc_sent", "grpc_other", 1),
	} {
		if _, err := readMetrics(strings.NewReader(text)); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}
