package verify_test

import (
	"testing"
	"time"

	"sallyport/verify"
	"sallyport/verify/schedule"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

// TestExplain: the explanation names the secret, whatever
// cheaper rule the datagram breaks; and without a secret there is no signature.
func TestExplain(t *testing.T) {
	now := start + 30
	key := func(until int64) verify.Key {
		k := verifytest.Client(verifytest.ID("com1"))
		k.Previous, k.Until = []byte("before"), time.Unix(until, 0)
		return k
	}
	rotating := verifytest.Table(t, key(now+60))
	over := verifytest.Table(t, key(now))
	current, _ := rotating.Windows(verifytest.ID("com1"))
	current.Floor.Raise(8, 210)
	late, _ := over.Windows(verifytest.ID("com1"))
	late.Floor.Raise(8, 210)
	_, previous := over.Windows(verifytest.ID("com1"))
	previous.Floor.Raise(3, 5)
	change := func(change func(*wire.Knock)) wire.Knock {
		k := good()
		change(&k)
		return k
	}
	skewed := change(func(k *wire.Knock) { k.Timestamp += 600 })
	secret := verifytest.Secret(verifytest.ID("com1"))
	under := func(k wire.Knock, secret string) []byte { return verifytest.SignUnder(t, k, []byte(secret)) }
	closing := func(k wire.Knock) []byte {
		b, err := k.SignClosing(secret).AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	cut := verifytest.Sign(t, good())
	cut[wire.OffsetSequence] = 5 // above the maximum
	here := []schedule.Place{{Minute: minute, Index: 0}, {Minute: minute + 1, Index: 1}}
	for _, row := range []struct {
		name     string
		table    *verify.KeyTable
		datagram []byte
		places   []schedule.Place
		want     verify.Explanation // the window and the place are compared only with a signature
	}{
		{"clock off", rotating, verifytest.Sign(t, skewed), nil,
			verify.Explanation{Reason: verify.Sequence, Signed: verify.Current, Client: true, Lowest: 8, Highest: 210}},
		{"clock off, forged", rotating, under(skewed, "guessed"), nil, verify.Explanation{Reason: verify.Sequence, Client: true}},
		{"below the window", over, verifytest.Sign(t, change(func(k *wire.Knock) { k.Nonce = 7 })), []schedule.Place{{Minute: minute, Index: 1}},
			verify.Explanation{Reason: verify.BelowWindow, Signed: verify.Current, Client: true, Lowest: 8, Highest: 210}},
		{"the port of another index", rotating, verifytest.Sign(t, good()), here,
			verify.Explanation{Reason: verify.Minute, Signed: verify.Current, Client: true, Lowest: 8, Highest: 210, Place: here[1]}},
		{"before the rotation, valid", rotating, under(skewed, "before"), nil,
			verify.Explanation{Reason: verify.Sequence, Signed: verify.Previous, Client: true}},
		{"before the rotation, over", over, under(good(), "before"), []schedule.Place{{Minute: minute, Index: 1}},
			verify.Explanation{Reason: verify.MAC, Signed: verify.Ended, Client: true, Lowest: 3, Highest: 5}},
		{"closes without a lease", rotating, closing(good()), []schedule.Place{{Minute: minute, Index: 1}},
			verify.Explanation{Reason: verify.MAC, Signed: verify.Current, Closes: true, Client: true, Lowest: 8, Highest: 210}},
		{"of no client", verifytest.Table(t, verifytest.Clients("com2")...), verifytest.Sign(t, good()), []schedule.Place{{Minute: minute, Index: 1}},
			verify.Explanation{Reason: verify.Identifier}},
		{"malformed", rotating, cut, nil, verify.Explanation{Reason: verify.Malformed}},
	} {
		v := verify.New(verify.Rules{Table: row.table, Ports: 3, Tolerance: time.Minute})
		_, reason := v.Verify(row.datagram, row.places, now)
		got := v.Explain(row.datagram, row.places, now, reason)
		if got.Reason != row.want.Reason || got.Signed != row.want.Signed || got.Closes != row.want.Closes || got.Client != row.want.Client {
			t.Errorf("%s: got %+v, want %+v", row.name, got, row.want)
		}
		if got.Signed != verify.Unsigned && (got.Lowest != row.want.Lowest || got.Highest != row.want.Highest || row.want.Place != (schedule.Place{}) && got.Place != row.want.Place) {
			t.Errorf("%s: window %d to %d, place %v, want %+v", row.name, got.Lowest, got.Highest, got.Place, row.want)
		}
		if n := testing.AllocsPerRun(100, func() { v.Explain(row.datagram, row.places, now, reason) }); n != 0 {
			t.Errorf("%s: %g allocations", row.name, n)
		}
	}
}
