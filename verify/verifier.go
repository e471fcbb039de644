package verify

import (
	"time"

	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// Rules are what knocks are held to. They are immutable and may be shared.
type Rules struct {
	Table     *KeyTable
	Ports     int           // n, 1 to 128: the knocks of a sequence
	Tolerance time.Duration // how far a timestamp may lie from now; whole seconds
}

// Verifier authenticates datagrams for one worker; it is not safe for
// concurrent use.
type Verifier struct {
	table     *KeyTable
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
	var c Candidate
	if reason := v.Precheck(&c, datagram, places, now); reason != Authentic {
		return Knock{}, reason
	}
	return v.Authenticate(&c, now)
}

// Candidate is a knock of which everything was checked but its HMAC. It is not
// authenticated.
type Candidate struct {
	knock    wire.Knock
	minute   schedule.Minute
	row      uint32
	datagram []byte
}

// Precheck makes all checks that are cheap, and fills in c if they find nothing.
// The datagram must not change before Authenticate.
func (v *Verifier) Precheck(c *Candidate, datagram []byte, places []schedule.Place, now int64) Reason {
	k, minute, reason := Shape(datagram, v.maximum, places)
	if reason != Authentic {
		return reason
	}
	if d := int64(k.Timestamp) - now; d > v.tolerance || d < -v.tolerance {
		return Clock
	}
	row, ok := v.table.find(k.Identifier)
	switch {
	case !ok:
		return Identifier
	case k.Nonce < uint32(k.Sequence):
		return Nonce
	case k.Nonce < v.table.rows[row].floor.lowest.Load():
		return Below
	}
	c.knock, c.minute, c.row, c.datagram = k, minute, row, datagram
	return Authentic
}

// Authenticate checks a candidate's HMAC.
func (v *Verifier) Authenticate(c *Candidate, now int64) (Knock, Reason) {
	if !v.table.verifies(&v.mac, c.row, c.datagram[:wire.SignedSize], c.knock.MAC[:], now) {
		return Knock{}, MAC
	}
	return Knock{
		identifier: c.knock.Identifier,
		sequence:   c.knock.Sequence,
		maximum:    c.knock.Maximum,
		nonce:      c.knock.Nonce,
		timestamp:  c.knock.Timestamp,
		minute:     c.minute,
		table:      v.table.number,
	}, Authentic
}

// Shape makes the checks that need to know neither the clients nor the time:
// the form, the maximum, and the place among those of the port. It returns the
// minute for which the knock was made.
func Shape(datagram []byte, maximum int8, places []schedule.Place) (wire.Knock, schedule.Minute, Reason) {
	k, err := wire.Parse(datagram)
	if err != nil {
		return k, 0, reasonOf(err)
	}
	if k.Maximum != maximum {
		return k, 0, Maximum
	}
	minute, reason := locate(k, places)
	return k, minute, reason
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
