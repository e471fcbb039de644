package verify

import (
	"encoding"
	"testing"
	"time"

	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// counting counts HMACs: each restores the state of a key twice.
type counting struct {
	encoding.BinaryUnmarshaler
	restored int
}

func (c *counting) UnmarshalBinary(b []byte) error {
	c.restored++
	return c.BinaryUnmarshaler.UnmarshalBinary(b)
}

// closer is a verifier of which a test counts the HMACs.
type closer struct {
	*Verifier
	*counting
	table *KeyTable
}

var closingPlaces = []schedule.Place{{Minute: 28333333, Index: 1}}

const closingNow = 28333333*60 + 20

func newCloser(t *testing.T, keys ...Key) closer {
	t.Helper()
	table, err := NewKeyTable(keys)
	if err != nil {
		t.Fatal(err)
	}
	v := New(Rules{Table: table, Ports: 3, Tolerance: time.Minute})
	c := &counting{BinaryUnmarshaler: v.mac.restore}
	v.mac.restore = c
	return closer{v, c, table}
}

// expect verifies a datagram, and compares the result and the number of HMACs.
func (c closer) expect(t *testing.T, what string, k wire.Knock, want Reason, closes bool, hmacs int) {
	t.Helper()
	b, err := k.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	before := c.restored
	got, reason := c.Verify(b, closingPlaces, closingNow)
	if reason != want || got.Closes() != closes || c.restored-before != 2*hmacs {
		t.Errorf("%s: %s, closes %v, %d HMACs; want %s, %v, %d", what, reason, got.Closes(), (c.restored-before)/2, want, closes, hmacs)
	}
}

// TestOneHMACWithoutALease: a closing MAC costs an HMAC only for a client with a lease. A
// flood in the name of any other client costs one HMAC, or one for each of two secrets.
func TestOneHMACWithoutALease(t *testing.T) {
	id, other, rotates := wire.Identifier([]byte("com1")), wire.Identifier([]byte("com2")), wire.Identifier([]byte("com3"))
	secret, old := []byte("secret"), []byte("old")
	c := newCloser(t, Key{Identifier: id, Secret: secret}, Key{Identifier: other, Secret: secret},
		Key{Identifier: rotates, Secret: secret, Previous: old, Until: time.Unix(closingNow+1, 0)})
	knock := wire.Knock{Sequence: 1, Maximum: 2, Identifier: id, Timestamp: closingNow, Nonce: 7}
	of := func(id wire.Identifier) wire.Knock { k := knock; k.Identifier = id; return k }

	c.expect(t, "opens", knock.Sign(secret), Authentic, false, 1)
	c.expect(t, "closes without a lease", knock.SignClosing(secret), MAC, false, 1)
	c.expect(t, "a bad MAC without a lease", knock, MAC, false, 1)
	c.expect(t, "a bad MAC in a rotation", of(rotates), MAC, false, 2)
	c.expect(t, "closes in a rotation, without a lease", of(rotates).SignClosing(old), MAC, false, 2)

	c.table.SetLeased(id, true)
	c.table.SetLeased(wire.Identifier([]byte("none")), true)
	c.expect(t, "opens with a lease", knock.Sign(secret), Authentic, false, 1)
	c.expect(t, "closes", knock.SignClosing(secret), Authentic, true, 2)
	c.expect(t, "a bad MAC with a lease", knock, MAC, false, 2)
	c.expect(t, "closes by another's secret", knock.SignClosing(old), MAC, false, 2)
	c.expect(t, "a neighbour closes", of(other).SignClosing(secret), MAC, false, 1)
	c.expect(t, "a bad MAC of a neighbour", of(other), MAC, false, 1)

	c.table.SetLeased(rotates, true)
	c.expect(t, "closes by the new secret", of(rotates).SignClosing(secret), Authentic, true, 3)
	c.expect(t, "closes by the old secret", of(rotates).SignClosing(old), Authentic, true, 4)
	c.expect(t, "opens by the old secret", of(rotates).Sign(old), Authentic, false, 2)
	c.SetRules(Rules{Table: c.table, Ports: 3, Tolerance: time.Minute, ISN: true})
	c.expect(t, "closes, where numbers are derived", knock.SignClosing(secret), Authentic, true, 2)

	c.table.SetLeased(id, false)
	c.expect(t, "closes after the lease", knock.SignClosing(secret), MAC, false, 1)
}

// TestClosingAllocatesNothing: also if the second MAC is compared.
func TestClosingAllocatesNothing(t *testing.T) {
	id := wire.Identifier([]byte("com1"))
	c := newCloser(t, Key{Identifier: id, Secret: []byte("secret")})
	c.table.SetLeased(id, true)
	b, err := wire.Knock{Sequence: 1, Maximum: 2, Identifier: id, Timestamp: closingNow, Nonce: 7}.SignClosing([]byte("secret")).AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	bad := append(b[:len(b)-1:len(b)-1], b[len(b)-1]^1)
	for what, datagram := range map[string][]byte{"closing": b, "bad": bad} {
		if n := testing.AllocsPerRun(100, func() { c.Verify(datagram, closingPlaces, closingNow) }); n > 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}

// FuzzOneKindOfMAC: a knock opens if its MAC is that of a knock, and closes if it is that
// of a closing knock and its client has a lease; nothing else is authentic.
func FuzzOneKindOfMAC(f *testing.F) {
	id, secret := wire.Identifier([]byte("com1")), []byte("secret")
	knock := wire.Knock{Sequence: 1, Maximum: 2, Identifier: id, Timestamp: closingNow, Nonce: 7}
	for _, k := range []wire.Knock{knock, knock.Sign(secret), knock.SignClosing(secret)} {
		f.Add(k.Nonce, k.MAC[:], true)
		f.Add(k.Nonce, k.MAC[:], false)
	}
	table, err := NewKeyTable([]Key{{Identifier: id, Secret: secret}})
	if err != nil {
		f.Fatal(err)
	}
	v := New(Rules{Table: table, Ports: 3, Tolerance: time.Minute})
	f.Fuzz(func(t *testing.T, nonce uint32, mac []byte, leased bool) {
		k := knock
		k.Nonce = max(nonce, 1)
		copy(k.MAC[:], mac)
		table.SetLeased(id, leased)
		b, err := k.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		opens, closes := k.MAC == k.Sign(secret).MAC, leased && k.MAC == k.SignClosing(secret).MAC
		got, reason := v.Verify(b, closingPlaces, closingNow)
		if authentic := reason == Authentic; authentic != (opens || closes) || got.Closes() != closes {
			t.Fatalf("%s, closes %v; the MAC opens %v, closes %v", reason, got.Closes(), opens, closes)
		}
	})
}
