package verify

import (
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// Signature is by which secret of the client that it names a datagram is signed.
type Signature uint8

// The signatures.
const (
	Unsigned Signature = iota // by none: any host can have made the datagram
	Current                   // by the client's secret
	Previous                  // by the one before a rotation, which is valid
	Ended                     // by the one before a rotation that is over
)

var signatureNames = [...]string{"none", "current", "previous", "ended"}

func (s Signature) String() string {
	if int(s) < len(signatureNames) {
		return signatureNames[s]
	}
	return "unknown"
}

// Explanation is what a datagram shows that was refused. Unless it is signed, any host can
// have written the Knock; and any host that has read a signed datagram can send it again.
type Explanation struct {
	Reason Reason
	Knock  wire.Knock // zero, if the datagram is malformed
	Signed Signature
	Closes bool // signed with the label of closing
	Leased bool // the client has a lease, without which closing knocks are refused
	Client bool // a client has the identifier
	// Place is one of the port, that of the knock's sequence ID if there is one; Placed: the
	// port has a place.
	Place  schedule.Place
	Placed bool
	// Maximum is the one that the server expects.
	Maximum int8
	// Lowest is the lowest nonce, and Highest the highest one that is used (0: not known),
	// of the secret that has signed the datagram, or else of the current one.
	Lowest, Highest uint32
}

// Explain explains why a datagram was refused: reason is the result of Verify with the
// same arguments. It checks the signature also if a cheaper rule is broken: that costs
// up to two HMACs for each secret of the client, and one if the MAC was compared before. It does not allocate, and does not
// retain its arguments.
func (v *Verifier) Explain(datagram []byte, places []schedule.Place, now int64, reason Reason) Explanation {
	e := Explanation{Reason: reason, Placed: len(places) > 0, Maximum: v.maximum}
	k, err := wire.Parse(datagram)
	if err != nil {
		return e
	}
	e.Knock = k
	for i, p := range places {
		if i == 0 || p.Index == k.Sequence {
			e.Place = p
		}
	}
	i, ok := v.table.find(k.Identifier)
	if !ok {
		return e
	}
	e.Client = true
	r, old := &v.table.rows[i], v.table.previous[i]
	e.Leased = r.leased.Load() != 0
	signer := r
	signed := datagram[:wire.SignedSize]
	v.mac.closingMessage = wire.ClosingMessage([wire.SignedSize]byte(signed))
	// Verify has compared the MAC with the valid secrets already, if that is the reason, and
	// with the label of closing too if the client has a lease.
	signs := func(by *row, compared bool) bool {
		if !compared && v.mac.verify(&by.key, signed, k.MAC[:]) {
			return true
		}
		e.Closes = !(compared && e.Leased) && v.mac.verify(&by.key, v.mac.closingMessage[:], k.MAC[:])
		return e.Closes
	}
	compared := reason == MAC
	switch {
	case signs(r, compared):
		e.Signed = Current
	case old == nil || !signs(&old.row, compared && now < old.until):
	case now < old.until:
		e.Signed, signer = Previous, &old.row
	default:
		e.Signed, signer = Ended, &old.row
	}
	e.Lowest, e.Highest = signer.floor.lowest.Load(), signer.floor.Highest()
	return e
}
