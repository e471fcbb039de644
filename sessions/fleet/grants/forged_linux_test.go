package grants

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/fleet/etcdtest"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

// encoded returns a value as a gateway writes it, after a change.
func encoded(t *testing.T, gateway, client string, at slot, a sessions.Attempt, change func(*value)) []byte {
	t.Helper()
	o := operation{attempt: a, value: value{address: alice, end: time.Now().Add(openFor), closes: at == closing}}
	if at == ipv6 {
		o.value.address = netip.MustParseAddr("2001:db8::1")
	}
	table := verifytest.Table(t, verifytest.Clients(append(clients, "else")...)...)
	raw, ok := encode(grantKey{gateway, verifytest.ID(client), at}, o, table, time.Now())
	if !ok {
		t.Fatal("the value was not made")
	}
	v, err := parseValue(raw)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&v)
	}
	return v.appendBinary(nil)
}

// retag makes a changed value one that a gateway with the clients' secrets has written.
func retag(t *testing.T, gateway, client string) func(*value) {
	table := verifytest.Table(t, verifytest.Clients(clients...)...)
	return func(v *value) {
		id := verifytest.ID(client)
		v.tag, _ = table.Tag(id, verifytest.Fingerprint(id), v.tagged(gateway), time.Now().Unix())
	}
}

// TestForged: an attacker who may write all keys of etcd, and has no secret of a client,
// opens nothing, extends no lease, and cannot repeat a grant. A gateway with the secrets
// cannot open without a record, or for a longer time.
func TestForged(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	one, other := start(t, e, "one"), start(t, e, "other")
	write := func(key string, raw []byte) {
		t.Helper()
		if _, err := e.Root().Put(t.Context(), "/sallyport/grants/"+key, string(raw)); err != nil {
			t.Fatal(err)
		}
	}
	recorded := attempt("com1", 7, 0)
	one.record(t, "com1", recorded)
	good := encoded(t, "one", "com1", ipv4, recorded, nil)
	unrecorded := attempt("com1", 100, 0)
	for _, row := range []struct {
		name, key string
		raw       []byte
		want      Outcome
	}{
		{"no gateway", "/com1/4", good, Malformed},
		{"another slot", "one/com1/5", good, Malformed},
		{"another version", "one/com1/4", append([]byte{2}, good[1:]...), Malformed},
		{"a part", "one/com1/4", good[:len(good)-1], Malformed},
		{"under the key of another gateway", "two/com1/4", good, Forged},
		{"another address", "one/com1/4", encoded(t, "one", "com1", ipv4, recorded, func(v *value) { v.address = netip.MustParseAddr("192.0.2.66") }), Forged},
		{"a wider prefix", "one/com1/4", encoded(t, "one", "com1", ipv4, recorded, func(v *value) { v.differ = 16 }), Forged},
		{"a later end", "one/com1/4", encoded(t, "one", "com1", ipv4, recorded, func(v *value) { v.end = v.end.Add(time.Second) }), Forged},
		{"closes instead", "one/com1/close", encoded(t, "one", "com1", ipv4, recorded, func(v *value) { v.closes = true }), Forged},
		{"a damaged datagram", "one/com1/4", encoded(t, "one", "com1", ipv4, recorded, func(v *value) { v.datagrams[len(v.datagrams)-1] ^= 1 }), Forged},
		{"one datagram twice", "one/com1/4", encoded(t, "one", "com1", ipv4, recorded, func(v *value) {
			copy(v.datagrams[wire.Size:2*wire.Size], bytes.Clone(v.datagrams[:wire.Size]))
		}), Forged},
		{"fewer datagrams", "one/com1/4", encoded(t, "one", "com1", ipv4, sessions.Attempt{Secret: recorded.Secret, Base: 7, Timestamp: recorded.Timestamp, Count: 2}, nil), Forged},
		{"a client of other gateways only", "one/else/4", encoded(t, "one", "else", ipv4, attempt("else", 7, 0), nil), Forged},
		{"under the key of another client", "one/com2/4", good, Misplaced},
		{"under the key of another family", "one/com1/6", good, Misplaced},
		{"with the secrets, without a record", "one/com1/4", encoded(t, "one", "com1", ipv4, unrecorded, nil), Unrecorded},
		{"with the secrets, a part recorded", "one/com1/4", encoded(t, "one", "com1", ipv4, attempt("com1", 8, 0), nil), Unrecorded},
		{"closes without a record", "one/com1/close", encoded(t, "one", "com1", closing, unrecorded, nil), Unrecorded},
		{"a client without a shared service", "one/none/4", encoded(t, "one", "none", ipv4, attempt("none", 7, 0), nil), NoService},
	} {
		before := other.has(row.want)
		write(row.key, row.raw)
		wait(t, row.name, func() bool { return other.has(row.want) == before+1 }, other)
		if opened := other.opens(); len(opened) > 0 {
			t.Fatalf("%s: opened for %v", row.name, opened)
		}
	}

	// It opens once, and for no longer than open_for after its timestamp, whatever its end.
	late := encoded(t, "one", "com1", ipv4, recorded, func(v *value) {
		v.end = v.end.Add(time.Hour)
		retag(t, "one", "com1")(v)
	})
	write("one/com1/4", late)
	other.expect(t, "a late end", "com1")
	end := (sharedGrant{from: other.opened[0].From, until: other.opened[0].Until}).ends(limits{tolerance, openFor})
	if end.After(time.Unix(int64(recorded.Timestamp), 0).Add(tolerance + openFor)) {
		t.Errorf("the grant ends at %s", end)
	}
	replay := func(what string, raw []byte) {
		t.Helper()
		before := other.has(Superseded)
		write("one/com1/4", raw)
		wait(t, what, func() bool { return other.has(Superseded) == before+1 }, other)
		other.expect(t, what, "com1")
	}
	replay("written again", late)
	replay("written again with another end", good)
	if _, err := e.Root().Delete(t.Context(), "/sallyport/grants/one/com1/4"); err != nil {
		t.Fatal(err)
	}
	wait(t, "revoked", func() bool { return other.has(Revoked) == 1 }, other)
	replay("written again after its revocation", late)
	own := attempt("com3", 7, 0)
	one.record(t, "com3", own)
	write("other/com3/4", encoded(t, "other", "com3", ipv4, own, nil)) // opens at all others
	one.expect(t, "a key with the name of another gateway", "com3")
	one.knock(t, "com2", 7, 0)
	other.expect(t, "a grant afterwards", "com1", "com2")
}
