package verify

import (
	"time"

	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// Rules are what knocks are held to. They are immutable and may be shared.
type Rules struct {
	Table     *Table
	Ports     int           // n, 1 to 128: the knocks of a sequence
	Tolerance time.Duration // how far a timestamp may lie from now; whole seconds
}

// Verifier authenticates datagrams for one worker; it is not safe for
// concurrent use.
type Verifier struct {
	table     *Table
	maximum   int8
	tolerance int64
	mac       macState
}

// New returns a Verifier with memory of its own.
func New(r Rules) *Verifier {
	v := &Verifier{mac: newMACState()}
	v.Use(r)
	return v
}

// Use holds the datagrams from now on to other rules. It does not allocate.
func (v *Verifier) Use(r Rules) {
	v.table = r.Table
	v.maximum = int8(r.Ports - 1)
	v.tolerance = int64(r.Tolerance / time.Second)
}

// Verify checks a datagram that came to a port with the given places at now,
// in Unix seconds. Only with Authentic is the Knock of any worth. It does not
// allocate and does not retain its arguments.
func (v *Verifier) Verify(datagram []byte, places []schedule.Place, now int64) (Knock, Reason) {
	k, err := wire.Parse(datagram)
	if err != nil {
		return Knock{}, reasonOf(err)
	}
	if k.Maximum != v.maximum {
		return Knock{}, Maximum
	}
	minute, reason := locate(k, places)
	if reason != Authentic {
		return Knock{}, reason
	}
	if d := int64(k.Timestamp) - now; d > v.tolerance || d < -v.tolerance {
		return Knock{}, Clock
	}
	row, ok := v.table.find(k.Identifier)
	if !ok {
		return Knock{}, Identifier
	}
	if k.Nonce < uint32(k.Sequence) {
		return Knock{}, Nonce
	}
	if !v.table.verifies(&v.mac, row, datagram[:wire.SignedSize], k.MAC[:], now) {
		return Knock{}, MAC
	}
	return Knock{
		identifier: k.Identifier,
		sequence:   k.Sequence,
		maximum:    k.Maximum,
		nonce:      k.Nonce,
		timestamp:  k.Timestamp,
		minute:     minute,
	}, Authentic
}

// locate finds the minute for which a knock was made: that of a place with
// its sequence ID, in whose minute its timestamp lies. In the seconds where
// the slack of two minutes overlaps, the one that really holds it wins.
func locate(k wire.Knock, places []schedule.Place) (schedule.Minute, Reason) {
	reason := Sequence
	var minute schedule.Minute
	for _, p := range places {
		if p.Index != k.Sequence {
			continue
		}
		if p.Minute.Contains(k.Timestamp, 0) {
			return p.Minute, Authentic
		}
		if p.Minute.Contains(k.Timestamp, schedule.Slack) {
			minute, reason = p.Minute, Authentic
		} else if reason == Sequence {
			reason = Minute
		}
	}
	return minute, reason
}
