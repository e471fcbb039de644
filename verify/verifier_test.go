package verify_test

import (
	"testing"
	"time"

	"sallyport/verify"
	"sallyport/verify/schedule"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

const (
	minute = schedule.Minute(28_333_333)
	start  = int64(minute) * 60
)

func verifier(t testing.TB) *verify.Verifier {
	table := verifytest.Table(t, verifytest.Clients("com1")...)
	return verify.New(verify.Rules{Table: table, Ports: 3, Tolerance: time.Minute})
}

func good() wire.Knock {
	return wire.Knock{
		Sequence: 1, Maximum: 2, Identifier: verifytest.ID("com1"),
		Timestamp: uint32(start + 30), Nonce: 8,
	}
}

// TestReasons breaks one rule a row. Each row is otherwise good, MAC
// included, so an early refusal cannot hide a later hole.
func TestReasons(t *testing.T) {
	places := []schedule.Place{{Minute: minute, Index: 1}}
	now := start + 30
	knock := func(change func(*wire.Knock)) []byte {
		k := good()
		change(&k)
		return verifytest.Sign(t, k)
	}
	at := func(timestamp int64) []byte {
		return knock(func(k *wire.Knock) { k.Timestamp = uint32(timestamp) })
	}
	same := func(*wire.Knock) {}
	for _, row := range []struct {
		name     string
		datagram []byte
		places   []schedule.Place
		now      int64
		want     verify.Reason
	}{
		{"good", knock(same), places, now, verify.Authentic},
		{"short", knock(same)[:47], places, now, verify.Size},
		{"long", append(knock(same), 0), places, now, verify.Size},
		{"magic", append([]byte("pk"), knock(same)[2:]...), places, now, verify.Magic},
		{"negative maximum", append([]byte{'P', 'K', 0, 0xFF}, knock(same)[4:]...), places, now, verify.Malformed},
		{"maximum beyond n-1", knock(func(k *wire.Knock) { k.Maximum = 3 }), places, now, verify.Maximum},
		{"maximum below n-1", knock(func(k *wire.Knock) { k.Maximum = 1 }), places, now, verify.Maximum},
		{"other sequence ID", knock(func(k *wire.Knock) { k.Sequence = 2 }), places, now, verify.Sequence},
		{"a port of another index", knock(same), []schedule.Place{{Minute: minute, Index: 0}}, now, verify.Sequence},
		{"a port of no minute", knock(same), nil, now, verify.Sequence},
		{"the minute before", knock(same), []schedule.Place{{Minute: minute - 1, Index: 1}}, now, verify.Minute},
		{"the minute after", knock(same), []schedule.Place{{Minute: minute + 1, Index: 1}}, now, verify.Minute},
		{"3 s before its minute", at(start - 3), places, now, verify.Minute},
		{"2 s before its minute", at(start - 2), places, now, verify.Authentic},
		{"2 s after its minute", at(start + 61), places, now, verify.Authentic},
		{"3 s after its minute", at(start + 62), places, now, verify.Minute},
		{"as old as may be", knock(same), places, now + 60, verify.Authentic},
		{"too old", knock(same), places, now + 61, verify.ClockSkew},
		{"as new as may be", knock(same), places, now - 60, verify.Authentic},
		{"too new", knock(same), places, now - 61, verify.ClockSkew},
		{"unknown client", knock(func(k *wire.Knock) { k.Identifier[3] = '2' }), places, now, verify.Identifier},
		{"begins below nonce 0", knock(func(k *wire.Knock) { k.Nonce = 0 }), places, now, verify.NonceUnderflow},
		{"begins at nonce 0", knock(func(k *wire.Knock) { k.Nonce = 1 }), places, now, verify.Authentic},
		{"MAC", append(knock(same)[:47], knock(same)[47]^1), places, now, verify.MAC},
		{"nonce not covered", append(append(knock(same)[:15:15], 9), knock(same)[16:]...), places, now, verify.MAC},
	} {
		t.Run(row.name, func(t *testing.T) {
			k, got := verifier(t).Verify(row.datagram, row.places, row.now)
			if got != row.want {
				t.Fatalf("got %s, want %s", got, row.want)
			}
			if got != verify.Authentic && k != (verify.Knock{}) {
				t.Errorf("refused, yet returned %+v", k)
			}
		})
	}
}

func TestKnockCarriesWhatWasVerified(t *testing.T) {
	k, reason := verifier(t).Verify(verifytest.Sign(t, good()), []schedule.Place{{Minute: minute, Index: 1}}, start+30)
	if reason != verify.Authentic {
		t.Fatal(reason)
	}
	if k.Identifier().String() != "com1" || k.Sequence() != 1 || k.Maximum() != 2 ||
		k.Nonce() != 8 || k.Base() != 7 || k.Minute() != minute {
		t.Errorf("got %+v", k)
	}
}

func TestPortOfTwoMinutes(t *testing.T) {
	v := verifier(t)
	places := []schedule.Place{{Minute: minute - 1, Index: 0}, {Minute: minute, Index: 1}}
	k := good()
	for _, row := range []struct {
		sequence  int8
		timestamp int64
		want      verify.Reason
		minute    schedule.Minute
	}{
		{0, start - 1, verify.Authentic, minute - 1},
		{1, start + 30, verify.Authentic, minute},
		{0, start + 30, verify.Minute, 0},
		{1, start - 30, verify.Minute, 0},
		{2, start, verify.Sequence, 0},
	} {
		k.Sequence, k.Timestamp = row.sequence, uint32(row.timestamp)
		got, reason := v.Verify(verifytest.Sign(t, k), places, start)
		if reason != row.want || got.Minute() != row.minute {
			t.Errorf("sequence %d at %+d: %s of minute %d", row.sequence, row.timestamp-start, reason, got.Minute())
		}
	}
	// The same index in both minutes: within the slack, the minute that
	// contains the timestamp wins, whatever the order of the places.
	k.Sequence, k.Timestamp = 1, uint32(start-1)
	for _, places := range [][]schedule.Place{
		{{Minute: minute - 1, Index: 1}, {Minute: minute, Index: 1}},
		{{Minute: minute, Index: 1}, {Minute: minute - 1, Index: 1}},
	} {
		got, reason := v.Verify(verifytest.Sign(t, k), places, start)
		if reason != verify.Authentic || got.Minute() != minute-1 {
			t.Errorf("%v: %s of minute %d", places, reason, got.Minute())
		}
	}
}

// TestRotation: both secrets are valid until the date, then only the new one.
func TestRotation(t *testing.T) {
	old, new := []byte("old"), []byte("new")
	id := verifytest.ID("com1")
	until := start + 30
	other := verifytest.ID("com2")
	v := verify.New(verify.Rules{Ports: 3, Tolerance: time.Minute, Table: verifytest.Table(t,
		verify.Key{Identifier: id, Secret: new, Previous: old, Until: time.Unix(until, 0)},
		verify.Key{Identifier: other, Secret: new})})
	for _, row := range []struct {
		id     wire.Identifier
		secret []byte
		now    int64
		want   verify.Reason
	}{
		{id, new, until - 1, verify.Authentic}, {id, old, until - 1, verify.Authentic},
		{id, new, until, verify.Authentic}, {id, old, until, verify.MAC},
		{id, []byte("older"), until - 1, verify.MAC},
		{other, old, until - 1, verify.MAC}, // another client's rotation
	} {
		k := good()
		k.Identifier = row.id
		datagram := verifytest.SignUnder(t, k, row.secret)
		_, got := v.Verify(datagram, []schedule.Place{{Minute: minute, Index: 1}}, row.now)
		if got != row.want {
			t.Errorf("%s with %s at %+d: %s, want %s", row.id, row.secret, row.now-until, got, row.want)
		}
	}
	v.SetRules(verify.Rules{Ports: 4, Tolerance: time.Minute, Table: verifytest.Table(t)})
	datagram := verifytest.SignUnder(t, good(), new)
	if _, got := v.Verify(datagram, []schedule.Place{{Minute: minute, Index: 1}}, start); got != verify.Maximum {
		t.Errorf("under other rules: %s", got)
	}
}

// TestFloor: a nonce below the client's floor is refused without an HMAC. A
// nonce that equals the floor is not.
func TestFloor(t *testing.T) {
	tab := verifytest.Table(t, verifytest.Client(good().Identifier))
	v := verify.New(verify.Rules{Table: tab, Ports: 3, Tolerance: time.Minute})
	places := []schedule.Place{{Minute: minute, Index: 1}}
	k := good()
	floor := func(id string) *verify.Floor { current, _ := tab.Windows(verifytest.ID(id)); return current.Floor }
	floor("com1").Raise(k.Nonce, k.Nonce+10)
	if _, got := v.Verify(verifytest.Sign(t, k), places, start); got != verify.Authentic {
		t.Errorf("on the floor: %s", got)
	}
	floor("com1").Raise(k.Nonce-1, k.Nonce) // it never falls
	k.Nonce--
	if _, got := v.Verify(verifytest.Forge(k), places, start); got != verify.BelowWindow {
		t.Errorf("below the floor: %s", got)
	}
	if floor("none") != nil {
		t.Error("an unknown client has a floor")
	}
}

func TestNewKeyTableRefuses(t *testing.T) {
	id, secret := verifytest.ID("com1"), []byte("secret")
	for name, clients := range map[string][]verify.Key{
		"duplicate":      {{Identifier: id, Secret: secret}, {Identifier: id, Secret: secret}},
		"empty secret":   {{Identifier: id}},
		"bad identifier": {{Secret: secret}},
	} {
		if _, err := verify.NewKeyTable(clients); err == nil {
			t.Errorf("%s accepted", name)
		}
	}
}

func TestVerifyDoesNotAllocate(t *testing.T) {
	v := verifier(t)
	places := []schedule.Place{{Minute: minute, Index: 1}}
	badMAC := verifytest.SignUnder(t, good(), []byte("another"))
	for name, d := range map[string][]byte{
		"good": verifytest.Sign(t, good()), "bad MAC": badMAC, "junk": make([]byte, 48), "short": nil,
	} {
		if n := testing.AllocsPerRun(100, func() { v.Verify(d, places, start+30) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// BenchmarkVerify: a wrong MAC in the name of a client with a lease costs a further HMAC,
// since it may close.
func BenchmarkVerify(b *testing.B) {
	v := verifier(b)
	table := verifytest.Table(b, verifytest.Clients("com1")...)
	table.SetLeased(verifytest.ID("com1"), true)
	leased := verify.New(verify.Rules{Ports: 3, Tolerance: time.Minute, Table: table})
	places := []schedule.Place{{Minute: minute, Index: 1}}
	bad := verifytest.Sign(b, good())
	bad[47] ^= 1
	for _, row := range []struct {
		name     string
		v        *verify.Verifier
		datagram []byte
	}{
		{"mac=good", v, verifytest.Sign(b, good())}, {"mac=bad", v, bad}, {"mac=bad,lease=true", leased, bad}, {"magic=bad", v, make([]byte, 48)},
	} {
		b.Run(row.name, func(b *testing.B) {
			for b.Loop() {
				row.v.Verify(row.datagram, places, start+30)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pkts/s")
		})
	}
}

// TestISN: client and server derive the same number for each knock of an attempt, also
// under the secret before a rotation, and only if the rules require it.
func TestISN(t *testing.T) {
	id := verifytest.ID("com1")
	now := int64(1_700_000_000)
	minute := schedule.MinuteOf(time.Unix(now, 0))
	key := verify.Key{Identifier: id, Secret: []byte("new"), Previous: []byte("old"), Until: time.Unix(now+60, 0)}
	table := verifytest.Table(t, key)
	for _, secret := range []string{"new", "old"} {
		for sequence := range int8(3) {
			for _, derive := range []bool{true, false} {
				v := verify.New(verify.Rules{Table: table, Ports: 3, Tolerance: time.Minute, ISN: derive})
				datagram := verifytest.SignUnder(t, wire.Knock{
					Sequence: sequence, Maximum: 2, Identifier: id, Timestamp: uint32(now), Nonce: 70 + uint32(sequence),
				}, []byte(secret))
				places := []schedule.Place{{Minute: minute, Index: sequence}}
				k, reason := v.Verify(datagram, places, now)
				want := wire.ISN(0)
				if derive {
					want = wire.ISNOfAttempt([]byte(secret), id, 70)
				}
				if reason != verify.Authentic || k.ISN() != want {
					t.Errorf("%s, knock %d, derived %t: %s, %d, want %d", secret, sequence, derive, reason, k.ISN(), want)
				}
				if n := testing.AllocsPerRun(100, func() { v.Verify(datagram, places, now) }); n != 0 {
					t.Errorf("%g allocations", n)
				}
			}
		}
	}
}

// TestPortSecretOfAKnock: the place names the port secret; a place of several secrets
// names none, and a knock to it is as valid.
func TestPortSecretOfAKnock(t *testing.T) {
	v := verifier(t)
	current, previous := schedule.NameOf("current"), schedule.NameOf("previous")
	at := func(m schedule.Minute, index int8, s schedule.SecretName) schedule.Place {
		return schedule.Place{Minute: m, Secret: s, Index: index}
	}
	for name, row := range map[string]struct {
		places []schedule.Place
		want   schedule.SecretName
	}{
		"one":                          {[]schedule.Place{at(minute, 1, current)}, current},
		"another index":                {[]schedule.Place{at(minute, 0, current), at(minute, 1, previous)}, previous},
		"another minute":               {[]schedule.Place{at(minute-1, 1, current), at(minute, 1, previous)}, previous},
		"both":                         {[]schedule.Place{at(minute, 1, current), at(minute, 1, previous)}, 0},
		"both, and another minute":     {[]schedule.Place{at(minute-1, 1, current), at(minute, 1, current), at(minute, 1, previous), at(minute+1, 1, current)}, 0},
		"no names":                     {[]schedule.Place{at(minute, 1, 0)}, 0},
		"the slack of another is last": {[]schedule.Place{at(minute, 1, current), at(minute-1, 1, previous)}, current},
	} {
		k := good()
		k.Timestamp = uint32(start) // in the slack of the minute before, too
		got, reason := v.Verify(verifytest.Sign(t, k), row.places, start)
		if reason != verify.Authentic || got.PortSecret() != row.want || got.Minute() != minute {
			t.Errorf("%s: %s, port secret %x of minute %d, want %x", name, reason, got.PortSecret(), got.Minute(), row.want)
		}
	}
}
