package exchange

import (
	"net/netip"
	"reflect"
	"testing"

	"sallyport/verify/challenge"
)

// TestDescribeOperation: without a secret, an operation takes part in no exchange. With it,
// the operation is that of NewOperation.
func TestDescribeOperation(t *testing.T) {
	described, err := DescribeOperation("12345", Mutual, true)
	if err != nil || described.ID() != "12345" || described.Algorithm() != Mutual || !described.RandomPort() {
		t.Fatalf("%+v, %v", described, err)
	}
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	if _, err := NewInitiator(described, a, b, [NonceSize]byte{}); err == nil {
		t.Error("an initiator without keys")
	}
	if _, err := NewOperations([]*Operation{described}, challenge.Plan{}); err == nil {
		t.Error("a responder without keys")
	}
	if _, err := described.WithSecret(""); err == nil {
		t.Error("an empty secret")
	}
	got, err := described.WithSecret("secret")
	want, wantErr := NewOperation("12345", "secret", Mutual, true)
	if err != nil || wantErr != nil || !reflect.DeepEqual(got, want) || described.hasKeys() {
		t.Errorf("%v, %v, the described one has keys: %v", err, wantErr, described.hasKeys())
	}
	for _, wrong := range []struct {
		id string
		a  Algorithm
	}{{"1234", Mutual}, {"12345678901234567", Mutual}, {"12345", 0}, {"12345", 4}} {
		if _, err := DescribeOperation(wrong.id, wrong.a, false); err == nil {
			t.Errorf("%+v is accepted", wrong)
		}
	}
}
