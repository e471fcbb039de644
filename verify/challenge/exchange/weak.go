package exchange

import (
	"encoding/hex"
	"errors"
)

var errWeak = errors.New("the public key is weak: anyone can sign for it")

// weakKeys are the encodings of all points of small order, without the bit of the sign.
// For such a key, anyone can make signatures that ed25519.Verify accepts.
var weakKeys = [][32]byte{
	point("0000000000000000000000000000000000000000000000000000000000000000"), // order 4
	point("0100000000000000000000000000000000000000000000000000000000000000"), // order 1
	point("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), // order 8
	point("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), // order 8
	point("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"), // order 2
	point("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"), // order 4, not reduced
	point("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"), // order 1, not reduced
}

func point(text string) (p [32]byte) {
	hex.Decode(p[:], []byte(text))
	return p
}

// isWeak reports whether the key has a small order.
func (k PublicKey) isWeak() bool {
	k.Key[31] &= 0x7f
	for _, weak := range weakKeys {
		if k.Key == weak {
			return true
		}
	}
	return false
}
