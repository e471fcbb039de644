package schedule

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
)

// HopKey is the key from which the hops of exchanges are drawn. It reveals neither the
// port secret nor a knock port.
type HopKey [sha256.Size]byte

// hopLabel separates the key of hops from all other uses of a port secret.
const hopLabel = "sallyport: hops of exchanges"

// HopKeyOf returns the key of a port secret.
func HopKeyOf(portSecret string) (k HopKey) {
	mac := hmac.New(sha256.New, []byte(portSecret))
	mac.Write([]byte(hopLabel))
	mac.Sum(k[:0])
	return k
}

// MaxHop is the maximum number of bases.
const MaxHop = 1 << 15

// MaskSize is the size of the mask of a Hop: at least that of the longest request.
const MaskSize = 2 * sha256.Size

// Hop is what moves the exchanges of a minute.
type Hop struct {
	// Distance is how many ports the bases of requests and responses move up.
	Distance uint16
	// Mask is what each request is XORed with, from its first byte on.
	Mask [MaskSize]byte
}

// Hop draws the hop of a minute. The distance is below bases, the number of bases
// that a message can have: 1 to MaxHop.
func (k HopKey) Hop(m Minute, bases uint16) (h Hop) {
	mac := hmac.New(sha256.New, k[:])
	block := func(i uint32, to []byte) {
		b := binary.BigEndian.AppendUint64(make([]byte, 0, 12), uint64(m))
		mac.Reset()
		mac.Write(binary.BigEndian.AppendUint32(b, i))
		mac.Sum(to[:0])
	}
	block(0, h.Mask[:sha256.Size])
	block(1, h.Mask[sha256.Size:])
	var draw [sha256.Size]byte
	block(2, draw[:])
	// 64 bits: no distance is likelier than another by more than 2^-48.
	h.Distance = uint16(binary.BigEndian.Uint64(draw[:]) % uint64(bases))
	return h
}
