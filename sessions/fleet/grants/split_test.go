package grants

import (
	"net/netip"
	"testing"
	"time"

	"sallyport/sessions"
	"sallyport/verify"
	"sallyport/verify/verifytest"
)

// TestSplitGrant: a gateway makes the grant of a split sequence with the secret itself, since
// it has no key of the other gateways. Others accept it only if they split sequences, and if
// it opens.
func TestSplitGrant(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	keys := verifytest.Clients("com1")
	own, err := verify.KeysOfGateway(keys, "one")
	if err != nil {
		t.Fatal(err)
	}
	p := Policy{Table: verifytest.Table(t, own...), Secrets: verifytest.Table(t, keys...), Split: true, Ports: 3, Tolerance: 30 * time.Second}
	k := grantKey{"one", verifytest.ID("com1"), ipv4}
	o := operation{
		attempt: sessions.Attempt{Secret: verifytest.Fingerprint(k.client), Base: 7, Timestamp: uint32(now.Unix()), Count: 3},
		value:   value{address: netip.MustParseAddr("192.0.2.1"), end: now.Add(time.Minute)},
	}
	if _, ok := encode(k, o, p.Table, now); ok {
		t.Error("the keys of the gateway make the grant")
	}
	judge := func(k grantKey, o operation, p Policy) Outcome {
		t.Helper()
		raw, ok := encode(k, o, p.Secrets, now)
		if !ok {
			t.Fatal("no grant")
		}
		v, err := parseValue(raw)
		if err != nil {
			t.Fatal(err)
		}
		a, outcome := authenticate(k, v, p, now)
		if outcome == Opened && a.Secret() != o.attempt.Secret {
			t.Errorf("the secret is %x", a.Secret())
		}
		return outcome
	}
	if got := judge(k, o, p); got != Opened {
		t.Errorf("a split sequence: %s", got)
	}
	whole := p
	whole.Split = false
	if got := judge(k, o, whole); got != Forged {
		t.Errorf("without split: %s", got)
	}
	closes := o
	closes.value.closes = true
	if got := judge(grantKey{"one", k.client, closing}, closes, p); got != Forged {
		t.Errorf("one that closes: %s", got)
	}
}
