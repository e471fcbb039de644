package wire

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
)

// ISN is the initial sequence number of a TCP connection (RFC 9293) that an attempt
// or an exchange binds to itself: both ends derive it, and no packet of the protocol
// contains it (deGraaf, Aycock, Jacobson 2005, section 7.1). Zero: none.
type ISN uint32

// ISNOf returns the number that a MAC stands for: the first of its words that is not
// zero. A Linux client that sets the number 0 gets one of the kernel's. The number
// is 1 if all words are zero.
func ISNOf(mac []byte) ISN {
	for ; len(mac) >= 4; mac = mac[4:] {
		if n := binary.BigEndian.Uint32(mac); n != 0 {
			return ISN(n)
		}
	}
	return 1
}

// isnLabel begins the message whose MAC is the number of an attempt. Such a message
// is no knock: it does not have SignedSize bytes.
const isnLabel = "sallyport: initial sequence number"

// ISNMessageSize is the length of an ISNMessage.
const ISNMessageSize = len(isnLabel) + len(Identifier{}) + 4

// ISNMessage returns the message whose HMAC-SHA256, under the secret of the client,
// is the number of an attempt. The base is the nonce of the attempt's first knock:
// no other attempt with that secret has it.
func ISNMessage(id Identifier, base uint32) (m [ISNMessageSize]byte) {
	n := copy(m[:], isnLabel)
	n += copy(m[n:], id[:])
	binary.BigEndian.PutUint32(m[n:], base)
	return m
}

// ISNOfAttempt returns the number of the attempt of a client that begins with the
// nonce base.
func ISNOfAttempt(secret []byte, id Identifier, base uint32) ISN {
	message := ISNMessage(id, base)
	mac := hmac.New(sha256.New, secret)
	mac.Write(message[:])
	return ISNOf(mac.Sum(nil))
}
