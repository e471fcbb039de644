package preamble

// The labels of what a secret signs. None is the beginning of another one, or of another
// message of the client's secret: a knock begins with "PK", and the labels of package
// wire and package verify go on differently.
const (
	preambleLabel = "sallyport: preamble of a connection"
	answerLabel   = "sallyport: answer to a preamble"
	proofLabel    = "sallyport: proof of a connection"
)

// MaxMessage is the maximum length of a message that a secret signs.
const MaxMessage = len(preambleLabel) + 1 + MaxService + Size + NonceSize

// AppendPreambleMessage appends the message whose HMAC-SHA256, under the client's
// secret, is the MAC of a preamble for a service. The MAC of p is ignored. The name of
// the service must be valid: see CheckService.
func AppendPreambleMessage(b []byte, service string, p Preamble) []byte {
	return p.appendSigned(begin(b, preambleLabel, service))
}

// AppendAnswerMessage appends the message whose HMAC-SHA256 is the MAC of the answer
// to a preamble.
func AppendAnswerMessage(b []byte, service string, p Preamble, nonce [NonceSize]byte) []byte {
	return append(p.append(begin(b, answerLabel, service)), nonce[:]...)
}

// AppendProofMessage appends the message whose HMAC-SHA256 is the proof, for a preamble
// that the server has answered with a nonce.
func AppendProofMessage(b []byte, service string, p Preamble, nonce [NonceSize]byte) []byte {
	return append(p.append(begin(b, proofLabel, service)), nonce[:]...)
}

func begin(b []byte, label, service string) []byte {
	b = append(append(b, label...), byte(len(service)))
	return append(b, service...)
}
