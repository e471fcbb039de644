package preamble

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"sallyport/verify/wire"
)

// FuzzParse: what parses re-encodes to the same bytes, is no knock, and what does not
// parse breaks a named rule.
func FuzzParse(f *testing.F) {
	for _, v := range vectors(f).Preambles {
		f.Add(unhex(f, v.Preamble))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b)
		if err != nil {
			if rule, ok := err.(Rule); !ok || rule.String() == "unknown" {
				t.Fatalf("error %v is no rule", err)
			}
			return
		}
		if got, err := p.AppendBinary(nil); err != nil || !bytes.Equal(got, b) {
			t.Fatalf("re-encoded %x (%v), want %x", got, err, b)
		}
		if _, err := wire.Parse(b); err == nil {
			t.Fatalf("%x is a knock, too", b)
		}
	})
}

// FuzzAnswer: a client makes a proof only for the answer of one that has its secret.
func FuzzAnswer(f *testing.F) {
	for _, v := range vectors(f).Handshakes {
		f.Add(unhex(f, v.Answer))
	}
	v := vectors(f).Handshakes[0]
	f.Fuzz(func(t *testing.T, b []byte) {
		c := v.client(t)
		proof, err := c.Answer(b)
		a, short := ParseAnswer(b)
		if short == nil {
			if got, err := a.AppendBinary(nil); err != nil || !bytes.Equal(got, b) {
				t.Fatalf("re-encoded %x (%v), want %x", got, err, b)
			}
		}
		want, _ := SecretMAC([]byte(v.Key))(AppendAnswerMessage(nil, v.Service, c.preamble, a.Nonce))
		authentic := short == nil && want == a.MAC
		if authentic != (err == nil) || authentic == errors.Is(err, ErrNotAuthentic) {
			t.Fatalf("authentic: %t, error: %v", authentic, err)
		}
		if (err == nil) == (proof == [ProofSize]byte{}) {
			t.Fatalf("proof %x, error: %v", proof, err)
		}
	})
}

// TestHandshakeProperties: with one secret, service and connection on both sides, the
// proof is the one that the server expects; if one of them differs, there is none.
func TestHandshakeProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-z0-9._-]{1,20}`)
		secret := rapid.StringN(1, 80, -1)
		service, key := name.Draw(t, "service"), secret.Draw(t, "key")
		id := wire.Identifier([]byte(rapid.StringMatching(`[ -~]{4}`).Draw(t, "identifier")))
		stamp, nonce := rapid.Uint32().Draw(t, "timestamp"), rapid.Uint32().Draw(t, "nonce")
		c, err := NewClient(service, id, stamp, nonce, SecretMAC([]byte(key)))
		if err != nil {
			t.Fatal(err)
		}
		sent := c.Preamble()
		// The server may have another secret or name, and may have got another preamble.
		atServer, keyAtServer := service, key
		p, err := Parse(sent[:])
		if err != nil {
			t.Fatal(err)
		}
		switch rapid.SampledFrom([]string{"same", "service", "key", "nonce", "timestamp"}).Draw(t, "differs") {
		case "service":
			atServer = name.Draw(t, "other service")
		case "key":
			keyAtServer = secret.Draw(t, "other key")
		case "nonce":
			p.Nonce = rapid.Uint32().Draw(t, "other nonce")
		case "timestamp":
			p.Timestamp = rapid.Uint32().Draw(t, "other timestamp")
		}
		same := atServer == service && sameKey(keyAtServer, key) && p == c.preamble
		mac := SecretMAC([]byte(keyAtServer))
		var a Answer
		copy(a.Nonce[:], rapid.SliceOfN(rapid.Byte(), NonceSize, NonceSize).Draw(t, "server nonce"))
		a.MAC, _ = mac(AppendAnswerMessage(nil, atServer, p, a.Nonce))
		b, _ := a.AppendBinary(nil)
		proof, err := c.Answer(b)
		if !same {
			if !errors.Is(err, ErrNotAuthentic) {
				t.Fatalf("%v", err)
			}
			return
		}
		want, _ := mac(AppendProofMessage(nil, atServer, p, a.Nonce))
		if err != nil || proof != want {
			t.Fatalf("proof %x (%v), want %x", proof, err, want)
		}
		if [wire.MACSize]byte(proof) == a.MAC || [wire.MACSize]byte(proof) == p.MAC {
			t.Fatal("two messages have one MAC")
		}
	})
}

// sameKey reports whether two secrets are one HMAC key: HMAC pads a key with zeros.
func sameKey(a, b string) bool {
	return bytes.Equal(bytes.TrimRight([]byte(a), "\x00"), bytes.TrimRight([]byte(b), "\x00")) || a == b
}
