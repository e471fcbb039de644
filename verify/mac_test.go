package verify

import (
	"crypto/hmac"
	"crypto/sha256"
	"testing"

	"pgregory.net/rapid"

	"sallyport/verify/wire"
)

// TestSavedStateIsHMAC compares the restored hash states with crypto/hmac,
// over secrets of all lengths.
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
		b := rapid.SliceOfN(rapid.Byte(), wire.SignedSize, wire.SignedSize).Draw(t, "signed part")
		h := hmac.New(sha256.New, secret)
		h.Write(b)
		b = h.Sum(b)
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

// BenchmarkHMAC compares an HMAC from a saved state with what no HMAC can do
// without: two compressions of SHA-256.
func BenchmarkHMAC(b *testing.B) {
	template, err := stateOfBlock(make([]byte, sha256.BlockSize))
	if err != nil {
		b.Fatal(err)
	}
	key, err := newMACKey([]byte("com1_secret"), &template)
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
