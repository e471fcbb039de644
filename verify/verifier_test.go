package verify

import (
	"crypto/sha256"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

const (
	minute = schedule.Minute(28_333_333)
	start  = int64(minute) * 60
)

var secret = []byte("com1_secret")

func table(t testing.TB, clients ...Client) *Table {
	t.Helper()
	table, err := NewTable(clients)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func verifier(t testing.TB) *Verifier {
	return New(Rules{
		Table:     table(t, Client{Identifier: wire.Identifier([]byte("com1")), Secret: secret}),
		Ports:     3,
		Tolerance: time.Minute,
	})
}

func good() wire.Knock {
	return wire.Knock{
		Sequence: 1, Maximum: 2, Identifier: wire.Identifier([]byte("com1")),
		Timestamp: uint32(start + 30), Nonce: 8,
	}
}

func encode(t testing.TB, k wire.Knock) []byte {
	t.Helper()
	b, err := k.Sign(secret).AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestReasons breaks one rule a row. Each row is otherwise good, MAC
// included, so an early refusal cannot hide a later hole.
func TestReasons(t *testing.T) {
	places := []schedule.Place{{Minute: minute, Index: 1}}
	now := start + 30
	knock := func(change func(*wire.Knock)) []byte {
		k := good()
		change(&k)
		return encode(t, k)
	}
	same := func(*wire.Knock) {}
	for _, row := range []struct {
		name     string
		datagram []byte
		places   []schedule.Place
		now      int64
		want     Reason
	}{
		{"good", knock(same), places, now, Authentic},
		{"short", knock(same)[:47], places, now, Size},
		{"long", append(knock(same), 0), places, now, Size},
		{"magic", append([]byte("pk"), knock(same)[2:]...), places, now, Magic},
		{"negative maximum", append([]byte{'P', 'K', 0, 0xFF}, knock(same)[4:]...), places, now, Malformed},
		{"maximum beyond n-1", knock(func(k *wire.Knock) { k.Maximum = 3 }), places, now, Maximum},
		{"maximum below n-1", knock(func(k *wire.Knock) { k.Maximum = 1 }), places, now, Maximum},
		{"other sequence ID", knock(func(k *wire.Knock) { k.Sequence = 2 }), places, now, Sequence},
		{"a port of another index", knock(same), []schedule.Place{{Minute: minute, Index: 0}}, now, Sequence},
		{"a port of no minute", knock(same), nil, now, Sequence},
		{"the minute before", knock(same), []schedule.Place{{Minute: minute - 1, Index: 1}}, now, Minute},
		{"the minute after", knock(same), []schedule.Place{{Minute: minute + 1, Index: 1}}, now, Minute},
		{"3 s before its minute", knock(func(k *wire.Knock) { k.Timestamp = uint32(start - 3) }), places, now, Minute},
		{"2 s before its minute", knock(func(k *wire.Knock) { k.Timestamp = uint32(start - 2) }), places, now, Authentic},
		{"2 s after its minute", knock(func(k *wire.Knock) { k.Timestamp = uint32(start + 61) }), places, now, Authentic},
		{"3 s after its minute", knock(func(k *wire.Knock) { k.Timestamp = uint32(start + 62) }), places, now, Minute},
		{"as old as may be", knock(same), places, now + 60, Authentic},
		{"too old", knock(same), places, now + 61, Clock},
		{"as new as may be", knock(same), places, now - 60, Authentic},
		{"too new", knock(same), places, now - 61, Clock},
		{"unknown client", knock(func(k *wire.Knock) { k.Identifier[3] = '2' }), places, now, Identifier},
		{"begins below nonce 0", knock(func(k *wire.Knock) { k.Nonce = 0 }), places, now, Nonce},
		{"begins at nonce 0", knock(func(k *wire.Knock) { k.Nonce = 1 }), places, now, Authentic},
		{"MAC", append(knock(same)[:47], knock(same)[47]^1), places, now, MAC},
		{"nonce not covered", append(append(knock(same)[:15:15], 9), knock(same)[16:]...), places, now, MAC},
	} {
		t.Run(row.name, func(t *testing.T) {
			k, got := verifier(t).Verify(row.datagram, row.places, row.now)
			if got != row.want {
				t.Fatalf("got %s, want %s", got, row.want)
			}
			if got != Authentic && k != (Knock{}) {
				t.Errorf("refused, yet returned %+v", k)
			}
		})
	}
}

func TestKnockCarriesWhatWasVerified(t *testing.T) {
	k, reason := verifier(t).Verify(encode(t, good()), []schedule.Place{{Minute: minute, Index: 1}}, start+30)
	if reason != Authentic {
		t.Fatal(reason)
	}
	if k.Identifier().String() != "com1" || k.Sequence() != 1 || k.Maximum() != 2 || k.Nonce() != 8 || k.Base() != 7 || k.Minute() != minute {
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
		want      Reason
		minute    schedule.Minute
	}{
		{0, start - 1, Authentic, minute - 1},
		{1, start + 30, Authentic, minute},
		{0, start + 30, Minute, 0},
		{1, start - 30, Minute, 0},
		{2, start, Sequence, 0},
	} {
		k.Sequence, k.Timestamp = row.sequence, uint32(row.timestamp)
		got, reason := v.Verify(encode(t, k), places, start)
		if reason != row.want || got.Minute() != row.minute {
			t.Errorf("sequence %d at %+d: %s of minute %d", row.sequence, row.timestamp-start, reason, got.Minute())
		}
	}
	// The same index in both minutes: within the slack, the minute that
	// really holds the timestamp wins, wherever it stands.
	k.Sequence, k.Timestamp = 1, uint32(start-1)
	for _, places := range [][]schedule.Place{
		{{Minute: minute - 1, Index: 1}, {Minute: minute, Index: 1}},
		{{Minute: minute, Index: 1}, {Minute: minute - 1, Index: 1}},
	} {
		if got, reason := v.Verify(encode(t, k), places, start); reason != Authentic || got.Minute() != minute-1 {
			t.Errorf("%v: %s of minute %d", places, reason, got.Minute())
		}
	}
}

// TestSavedStateIsHMAC compares the restored hash states with crypto/hmac,
// which wire.Sign uses, over secrets of all lengths.
func TestSavedStateIsHMAC(t *testing.T) {
	template, err := stateOfBlock(make([]byte, sha256.BlockSize))
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(t, "secret")
		key, err := newMACKey(secret, &template)
		if err != nil {
			t.Fatal(err)
		}
		k := good()
		k.Nonce = rapid.Uint32().Draw(t, "nonce")
		b, _ := k.Sign(secret).AppendBinary(nil)
		s := newMACState()
		if !s.verify(&key, b[:wire.SignedSize], b[wire.SignedSize:]) {
			t.Fatal("a good MAC refused")
		}
		b[rapid.IntRange(0, wire.Size-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if s.verify(&key, b[:wire.SignedSize], b[wire.SignedSize:]) {
			t.Fatal("a flipped bit accepted")
		}
	})
}

// TestRotation: both secrets are good until the date, then only the new one.
func TestRotation(t *testing.T) {
	old, new := []byte("old"), []byte("new")
	id := wire.Identifier([]byte("com1"))
	until := start + 30
	other := wire.Identifier([]byte("com2"))
	v := New(Rules{Ports: 3, Tolerance: time.Minute, Table: table(t,
		Client{Identifier: id, Secret: new, Previous: old, Until: time.Unix(until, 0)}, Client{Identifier: other, Secret: new})})
	for _, row := range []struct {
		id     wire.Identifier
		secret []byte
		now    int64
		want   Reason
	}{
		{id, new, until - 1, Authentic}, {id, old, until - 1, Authentic},
		{id, new, until, Authentic}, {id, old, until, MAC},
		{id, []byte("older"), until - 1, MAC},
		{other, old, until - 1, MAC}, // another client's rotation
	} {
		k := good()
		k.Identifier = row.id
		b, _ := k.Sign(row.secret).AppendBinary(nil)
		if _, got := v.Verify(b, []schedule.Place{{Minute: minute, Index: 1}}, row.now); got != row.want {
			t.Errorf("%s with %s at %+d: %s, want %s", row.id, row.secret, row.now-until, got, row.want)
		}
	}
	v.Use(Rules{Ports: 4, Tolerance: time.Minute, Table: table(t)})
	k, _ := good().Sign(new).AppendBinary(nil)
	if _, got := v.Verify(k, []schedule.Place{{Minute: minute, Index: 1}}, start); got != Maximum {
		t.Errorf("under other rules: %s", got)
	}
}

// TestFloor: what lies below a client's floor is refused without its HMAC,
// what lies on it is not, and other clients have theirs.
func TestFloor(t *testing.T) {
	tab := table(t, Client{Identifier: good().Identifier, Secret: secret})
	v := New(Rules{Table: tab, Ports: 3, Tolerance: time.Minute})
	places := []schedule.Place{{Minute: minute, Index: 1}}
	k := good()
	tab.Floor(k.Identifier).Raise(k.Nonce)
	if _, got := v.Verify(encode(t, k), places, start); got != Authentic {
		t.Errorf("on the floor: %s", got)
	}
	tab.Floor(k.Identifier).Raise(k.Nonce - 1) // it never sinks
	k.Nonce--
	k.MAC[0] ^= 1
	if _, got := v.Verify(encode(t, k), places, start); got != Below {
		t.Errorf("below the floor: %s", got)
	}
	if tab.Floor(wire.Identifier([]byte("none"))) != nil {
		t.Error("a floor of nobody")
	}
}

func TestNewTableRefuses(t *testing.T) {
	id := wire.Identifier([]byte("com1"))
	for name, clients := range map[string][]Client{
		"duplicate":      {{Identifier: id, Secret: secret}, {Identifier: id, Secret: secret}},
		"empty secret":   {{Identifier: id}},
		"bad identifier": {{Secret: secret}},
	} {
		if _, err := NewTable(clients); err == nil {
			t.Errorf("%s accepted", name)
		}
	}
}

func TestVerifyDoesNotAllocate(t *testing.T) {
	v := verifier(t)
	places := []schedule.Place{{Minute: minute, Index: 1}}
	bad := good().Sign([]byte("another"))
	badMAC, _ := bad.AppendBinary(nil)
	for name, d := range map[string][]byte{"good": encode(t, good()), "bad MAC": badMAC, "junk": make([]byte, 48), "short": nil} {
		if n := testing.AllocsPerRun(100, func() { v.Verify(d, places, start+30) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	v := verifier(b)
	places := []schedule.Place{{Minute: minute, Index: 1}}
	bad := encode(b, good())
	bad[47] ^= 1
	for _, row := range []struct {
		name     string
		datagram []byte
	}{{"mac=good", encode(b, good())}, {"mac=bad", bad}, {"magic=bad", make([]byte, 48)}} {
		b.Run(row.name, func(b *testing.B) {
			for b.Loop() {
				v.Verify(row.datagram, places, start+30)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pkts/s")
		})
	}
}

// BenchmarkHMAC compares an HMAC from a saved state with what no HMAC can do
// without: two compressions of SHA-256.
func BenchmarkHMAC(b *testing.B) {
	template, err := stateOfBlock(make([]byte, sha256.BlockSize))
	if err != nil {
		b.Fatal(err)
	}
	key, err := newMACKey(secret, &template)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("way=saved-state", func(b *testing.B) {
		s, signed, mac := newMACState(), make([]byte, wire.SignedSize), make([]byte, wire.MACSize)
		b.ReportAllocs()
		for b.Loop() {
			s.verify(&key, signed, mac)
		}
	})
	b.Run("way=two-compressions", func(b *testing.B) {
		h, blocks := sha256.New(), make([]byte, 2*sha256.BlockSize)
		for b.Loop() {
			h.Write(blocks)
		}
	})
}
