package verify_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"sallyport/verify"
	"sallyport/verify/schedule"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

// TestExpiry: a client is refused from its second on, without an HMAC, for its new and
// its old secret; other clients are not. The clock decides, also when it is set back.
func TestExpiry(t *testing.T) {
	at := start + 30
	id, other := verifytest.ID("com1"), verifytest.ID("com2")
	old, secret := []byte("old"), []byte("new")
	table := verifytest.Table(t,
		verify.Key{Identifier: id, Secret: secret, Previous: old, Until: time.Unix(at+1000, 0), Expires: time.Unix(at, 999)},
		verify.Key{Identifier: other, Secret: secret})
	v := verify.New(verify.Rules{Ports: 3, Tolerance: time.Minute, Table: table})
	for _, row := range []struct {
		id     wire.Identifier
		secret []byte
		now    int64
		want   verify.Reason
	}{
		{id, secret, at - 1, verify.Authentic}, {id, old, at - 1, verify.Authentic},
		{id, secret, at, verify.Expired}, {id, old, at, verify.Expired}, {id, []byte("bad"), at, verify.Expired},
		{id, []byte("bad"), at - 1, verify.MAC},
		{other, secret, at, verify.Authentic}, {other, []byte("bad"), at, verify.MAC},
		{id, secret, at - 1, verify.Authentic},
	} {
		k := good()
		k.Identifier = row.id
		_, got := v.Verify(verifytest.SignUnder(t, k, row.secret), []schedule.Place{{Minute: minute, Index: 1}}, row.now)
		if got != row.want {
			t.Errorf("%s with %s at %+d: %s, want %s", row.id, row.secret, row.now-at, got, row.want)
		}
	}
	// The checks before it come first, and the nonce after it.
	k := good()
	k.Nonce = 0
	_, got := v.Verify(verifytest.SignUnder(t, k, secret), []schedule.Place{{Minute: minute, Index: 1}}, at)
	if got != verify.Expired {
		t.Errorf("with a nonce below the sequence ID: %s", got)
	}
	until, ok := table.ExpiresAt(id)
	if !ok || until.Unix() != at {
		t.Errorf("expires at %v, %v", until, ok)
	}
	if _, ok := table.ExpiresAt(other); ok {
		t.Error("another client expires")
	}
}

// TestExpiredCount: the number of expired clients, and the identifiers of the others,
// at each time; a time before 1970, and one after the last timestamp, are no surprise.
func TestExpiredCount(t *testing.T) {
	times := map[string]int64{"com1": -5, "com2": 100, "com3": 100, "com4": 200, "com5": math.MaxUint32 + 1}
	keys := []verify.Key{{Identifier: verifytest.ID("com6"), Secret: []byte("x")}}
	for id, at := range times {
		keys = append(keys, verify.Key{Identifier: verifytest.ID(id), Secret: []byte("x"), Expires: time.Unix(at, 0)})
	}
	table := verifytest.Table(t, keys...)
	for now, want := range map[int64]int{0: 0, 1: 1, 99: 1, 100: 3, 199: 3, 200: 4, math.MaxUint32: 4, math.MaxUint32 + 2: 4} {
		at := time.Unix(now, 5)
		if got := table.Expired(at); got != want {
			t.Errorf("at %d: %d expired, want %d", now, got, want)
		}
		ids := slices.Collect(table.Unexpired(at))
		lasting := slices.Contains(ids, verifytest.ID("com6")) && slices.Contains(ids, verifytest.ID("com5"))
		if len(ids) != table.Len()-want || !lasting {
			t.Errorf("at %d: unexpired %v", now, ids)
		}
	}
}
