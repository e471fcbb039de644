package verify_test

import (
	"testing"
	"time"

	"sallyport/verify"
	"sallyport/verify/verifytest"
)

// TestParts: a tag is that of one text, client and secret, while the secret is valid; and a
// table of secrets finds the one that makes a key for a gateway.
func TestParts(t *testing.T) {
	t.Parallel()
	const now = 1_700_000_000
	id := verifytest.ID("com1")
	key := verifytest.Client(id)
	key.Previous, key.Until, key.Expires = []byte("old secret"), time.Unix(now+10, 0), time.Unix(now+20, 0)
	table := verifytest.Table(t, key, verifytest.Client(verifytest.ID("com2")))
	current := verifytest.Fingerprint(id)
	old, err := verify.FingerprintOf(key.Previous)
	if err != nil {
		t.Fatal(err)
	}
	tag, ok := table.PartTag(id, current, []byte("text"), now)
	if !ok || !table.PartTagged(id, current, []byte("text"), tag[:], now) {
		t.Fatal("a tag is refused")
	}
	if grant, _ := table.Tag(id, current, []byte("text"), now); grant == tag {
		t.Error("the tag of a part is that of a grant")
	}
	for what, refused := range map[string]bool{
		"another text":   table.PartTagged(id, current, []byte("texts"), tag[:], now),
		"another secret": table.PartTagged(id, old, []byte("text"), tag[:], now),
		"another client": table.PartTagged(verifytest.ID("com2"), verifytest.Fingerprint(verifytest.ID("com2")), []byte("text"), tag[:], now),
		"no client":      table.PartTagged(verifytest.ID("com3"), current, []byte("text"), tag[:], now),
		"expired":        table.PartTagged(id, current, []byte("text"), tag[:], now+20),
	} {
		if refused {
			t.Errorf("%s: accepted", what)
		}
	}
	if _, ok := table.PartTag(id, old, nil, now+10); ok {
		t.Error("a secret that has ended makes a tag")
	}

	keys, err := verify.KeysOfGateway([]verify.Key{key}, "gw1")
	if err != nil {
		t.Fatal(err)
	}
	for i, of := range [][]byte{keys[0].Secret, keys[0].Previous} {
		want := []verify.Fingerprint{current, old}[i]
		at, err := verify.FingerprintOf(of)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := table.SecretOfKey("gw1", id, at, now); !ok || got != want {
			t.Errorf("key %d: secret %x, %t", i, got, ok)
		}
		if _, ok := table.SecretOfKey("gw2", id, at, now); ok {
			t.Errorf("key %d is one of another gateway", i)
		}
		if _, ok := table.SecretOfKey("gw1", verifytest.ID("com2"), at, now); ok {
			t.Errorf("key %d is one of another client", i)
		}
	}
	if table.ISN(id, current, 7, now) == 0 || table.ISN(id, current, 7, now) == table.ISN(id, old, 7, now) || table.ISN(id, old, 7, now+10) != 0 {
		t.Error("the numbers of attempts are not those of their secrets")
	}
}
