package verify

import (
	"testing"
	"time"

	"sallyport/verify/wire"
)

// TestKeysOfGateway: an attempt for one gateway is authentic there, also with the secret
// before a rotation, and with no other gateway, nor with the secret itself.
func TestKeysOfGateway(t *testing.T) {
	const n, now = 3, 1_000_000
	id := wire.Identifier([]byte("com1"))
	plain := []Key{{Identifier: id, Secret: []byte("new"), Previous: []byte("old"), Until: time.Unix(now+10, 0)}}
	tableOf := func(keys []Key) *KeyTable {
		t.Helper()
		table, err := NewKeyTable(keys)
		if err != nil {
			t.Fatal(err)
		}
		return table
	}
	tables := map[string]*KeyTable{"": tableOf(plain)}
	for _, gateway := range []string{"gw1", "gw2"} {
		keys, err := KeysOfGateway(plain, gateway)
		if err != nil {
			t.Fatal(err)
		}
		tables[gateway] = tableOf(keys)
	}
	made := func(gateway, secret string, closes bool) (b []byte, key []byte) {
		key = []byte(secret)
		if gateway != "" {
			var err error
			if key, err = wire.GatewayKey(key, gateway); err != nil {
				t.Fatal(err)
			}
		}
		for i := range n {
			k := wire.Knock{Sequence: int8(i), Maximum: n - 1, Identifier: id, Timestamp: now, Nonce: 7 + uint32(i)}
			if k = k.Sign(key); closes {
				k = k.SignClosing(key)
			}
			b, _ = k.AppendBinary(b)
		}
		return b, key
	}
	for _, secret := range []string{"new", "old"} {
		for _, closes := range []bool{false, true} {
			for _, of := range []string{"", "gw1", "gw2"} {
				datagrams, key := made(of, secret, closes)
				fingerprint, err := FingerprintOf(key)
				if err != nil {
					t.Fatal(err)
				}
				for at, table := range tables {
					a, reason := table.Attempt(datagrams, n, now)
					if (reason == Authentic) != (at == of) || at == of && (a.Secret() != fingerprint || a.Closes() != closes) {
						t.Errorf("%s for %q at %q: %v, %+v", secret, of, at, reason, a)
					}
					if at == "" {
						continue
					}
					a, reason = tables[""].AttemptAt(at, datagrams, n, now)
					if (reason == Authentic) != (at == of) || at == of && (a.Secret() != fingerprint || a.Closes() != closes) {
						t.Errorf("%s for %q, of another gateway %q: %v, %+v", secret, of, at, reason, a)
					}
				}
			}
		}
	}
	old, _ := made("gw1", "old", false)
	if _, reason := tables[""].AttemptAt("gw1", old, n, now+10); reason != MAC {
		t.Errorf("an expired secret: %v", reason)
	}
	current, _ := made("gw1", "new", false)
	for _, name := range []string{"", "gw 1"} {
		if _, reason := tables[""].AttemptAt(name, current, n, now); reason != MAC {
			t.Errorf("the name %q: %v", name, reason)
		}
		if _, err := KeysOfGateway(plain, name); err == nil {
			t.Errorf("the name %q has keys", name)
		}
	}
	if keys, err := KeysOfGateway([]Key{{Identifier: id}}, "gw1"); err != nil || len(keys[0].Secret) != 0 {
		t.Errorf("an empty secret became %q (%v)", keys[0].Secret, err)
	}
}
