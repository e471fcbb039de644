package wire

import (
	"crypto/hmac"
	"crypto/sha256"
)

// closingLabel begins the message that the MAC of a closing knock covers. Such a message
// is no knock: it does not have SignedSize bytes.
const closingLabel = "sallyport: close"

// ClosingSize is the length of a ClosingMessage.
const ClosingSize = len(closingLabel) + SignedSize

// ClosingMessage returns the message whose HMAC-SHA256, under the secret of the client,
// is the MAC of a closing knock: the label, and the 16 bytes before the MAC.
func ClosingMessage(signed [SignedSize]byte) (m [ClosingSize]byte) {
	copy(m[copy(m[:], closingLabel):], signed[:])
	return m
}

// SignClosing returns k with the MAC of a closing knock. All other bytes are those of a
// knock that opens.
func (k Knock) SignClosing(secret []byte) Knock {
	message := ClosingMessage(k.signed())
	mac := hmac.New(sha256.New, secret)
	mac.Write(message[:])
	mac.Sum(k.MAC[:0])
	return k
}
