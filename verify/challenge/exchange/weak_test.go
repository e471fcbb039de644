package exchange

import (
	"crypto/ed25519"
	"fmt"
	"testing"
)

// TestWeakKeys: for a key of small order, a signature that needs no private key is valid
// for one message in eight, at least. So a server refuses the key.
func TestWeakKeys(t *testing.T) {
	host, err := hostKeyOf([KeySize]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	forged := append([]byte{1}, make([]byte, ed25519.SignatureSize-1)...) // the neutral point, and zero
	for _, key := range weakKeys {
		for _, sign := range []byte{0, 0x80} {
			k := PublicKey{Key: key}
			k.Key[31] |= sign
			valid := 0
			for n := range 200 {
				if k.Verifies(fmt.Appendf(nil, "message %d", n), forged) {
					valid++
				}
			}
			// Go does not decode the neutral point and the point of order 2 with a sign.
			if order := key[0] == 1 || key[0] == 0xec || key[0] == 0xee; valid == 0 && (sign == 0 || !order) {
				t.Errorf("%x: no forgery", k.Key)
			}
			for _, k.Application = range []string{"", "ssh:"} {
				_, err := NewSignedOperation("web-alice", host, []PublicKey{k}, false)
				if _, parsed := ParsePublicKey(k.Marshal()); err != errWeak || parsed != errWeak {
					t.Errorf("%x: %v, %v", k.Key, err, parsed)
				}
			}
		}
	}
}
