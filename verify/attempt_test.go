package verify

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"math"
	"testing"
	"time"

	"sallyport/verify/wire"
)

// TestAttempt: a table makes the datagrams of an attempt as its client does, and
// authenticates these, and no others.
func TestAttempt(t *testing.T) {
	const n, now = 3, 1_000_000
	id := wire.Identifier([]byte("com1"))
	table := func(k Key) *KeyTable {
		t.Helper()
		k.Identifier = id
		made, err := NewKeyTable([]Key{k})
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	current := table(Key{Secret: []byte("new"), Previous: []byte("old"), Until: time.Unix(now+10, 0)})
	client := func(secret string, base, timestamp uint32, closes bool) (b []byte) {
		for i := range n {
			k := wire.Knock{Sequence: int8(i), Maximum: n - 1, Identifier: id, Timestamp: timestamp, Nonce: base + uint32(i)}
			if k = k.Sign([]byte(secret)); closes {
				k = k.SignClosing([]byte(secret))
			}
			b, _ = k.AppendBinary(b)
		}
		return b
	}
	for _, row := range []struct {
		secret string
		base   uint32
		closes bool
	}{{"new", 7, false}, {"new", 0, true}, {"old", math.MaxUint32 - 2, false}, {"old", 9, true}} {
		sent := client(row.secret, row.base, now, row.closes)
		a, reason := current.Attempt(sent, n, now)
		want, _ := FingerprintOf([]byte(row.secret))
		if reason != Authentic || a.Identifier() != id || a.Secret() != want || a.Base() != row.base ||
			a.Timestamp() != now || a.Count() != n || a.Closes() != row.closes || (a.ISN() == 0) != row.closes {
			t.Errorf("%+v: %v, %+v", row, reason, a)
		}
		made, ok := current.AppendAttempt([]byte("x"), id, want, row.base, now, n, row.closes, now)
		if !ok || !bytes.Equal(made, append([]byte("x"), sent...)) {
			t.Errorf("%+v: the table made other datagrams than the client", row)
		}
	}

	good := client("new", 7, now, false)
	part := func(from []byte, i int) []byte { return from[i*wire.Size : (i+1)*wire.Size] }
	with := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	damaged := bytes.Clone(good)
	damaged[len(damaged)-1] ^= 1
	resigned := func(change func(*wire.Knock)) []byte {
		b := bytes.Clone(good[:wire.Size])
		k, _ := wire.Parse(part(good, 1))
		change(&k)
		b, _ = k.Sign([]byte("new")).AppendBinary(b)
		return append(b, part(good, 2)...)
	}
	for name, row := range map[string]struct {
		datagrams []byte
		n         int
		now       int64
		want      Reason
	}{
		"none":                     {nil, 0, now, Size},
		"one missing":              {good[:2*wire.Size], n, now, Size},
		"n of another server":      {good[:2*wire.Size], 2, now, Maximum},
		"one twice":                {with(part(good, 0), part(good, 1), part(good, 1)), n, now, Sequence},
		"another order":            {with(part(good, 1), part(good, 0), part(good, 2)), n, now, Sequence},
		"one of another attempt":   {with(part(good, 0), part(client("new", 6, now, false), 1), part(good, 2)), n, now, MAC},
		"one of another secret":    {with(part(good, 0), part(client("old", 7, now, false), 1), part(good, 2)), n, now, MAC},
		"one that closes":          {with(part(good, 0), part(client("new", 7, now, true), 1), part(good, 2)), n, now, MAC},
		"one of another time":      {resigned(func(k *wire.Knock) { k.Timestamp++ }), n, now, MAC},
		"one with another maximum": {resigned(func(k *wire.Knock) { k.Maximum++ }), n, now, MAC},
		"damaged":                  {damaged, n, now, MAC},
		"a secret of another":      {client("third", 7, now, false), n, now, MAC},
		"a secret that has ended":  {client("old", 7, now, false), n, now + 10, MAC},
		"nonces that wrap":         {client("new", math.MaxUint32-1, now, false), n, now, NonceUnderflow},
		"no knock":                 {make([]byte, n*wire.Size), n, now, Magic},
	} {
		a, reason := current.Attempt(row.datagrams, row.n, row.now)
		if reason != row.want || a != (Attempt{}) {
			t.Errorf("%s: %v, want %v", name, reason, row.want)
		}
	}
	expired := table(Key{Secret: []byte("new"), Expires: time.Unix(now, 0)})
	if _, reason := expired.Attempt(good, n, now); reason != Expired {
		t.Errorf("a client that has expired: %v", reason)
	}
	old, _ := FingerprintOf([]byte("old"))
	if _, ok := current.AppendAttempt(nil, id, old, 7, now, n, false, now+10); ok {
		t.Error("the table signed with a secret that has ended")
	}
	if _, ok := current.AppendAttempt(nil, id, old, math.MaxUint32-1, now, n, false, now); ok {
		t.Error("the table made nonces that wrap")
	}
}

// TestTag: a tag is that of one text, one client and one of its secrets.
func TestTag(t *testing.T) {
	const now = 1_000_000
	id, other := wire.Identifier([]byte("com1")), wire.Identifier([]byte("com2"))
	table, err := NewKeyTable([]Key{
		{Identifier: id, Secret: []byte("new"), Previous: []byte("old"), Until: time.Unix(now+10, 0)},
		{Identifier: other, Secret: []byte("new")},
	})
	if err != nil {
		t.Fatal(err)
	}
	current, _ := FingerprintOf([]byte("new"))
	old, _ := FingerprintOf([]byte("old"))
	tag, ok := table.Tag(id, old, []byte("text"), now)
	mac := hmac.New(sha256.New, []byte("old"))
	mac.Write([]byte("sallyport: granttext"))
	if !ok || !bytes.Equal(tag[:], mac.Sum(nil)) || !table.Tagged(id, old, []byte("text"), tag[:], now) {
		t.Errorf("the tag is %x", tag)
	}
	for name, tagged := range map[string]bool{
		"another text":            table.Tagged(id, old, []byte("texts"), tag[:], now),
		"another secret":          table.Tagged(id, current, []byte("text"), tag[:], now),
		"a secret that has ended": table.Tagged(id, old, []byte("text"), tag[:], now+10),
		"another client":          table.Tagged(other, old, []byte("text"), tag[:], now),
		"no client":               table.Tagged(wire.Identifier([]byte("com3")), old, []byte("text"), tag[:], now),
		"a part of the tag":       table.Tagged(id, old, []byte("text"), tag[:TagSize-1], now),
	} {
		if tagged {
			t.Errorf("%s: accepted", name)
		}
	}
}
