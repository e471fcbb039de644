package verify

import (
	"time"

	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// Rules are the rules that a knock must obey. They are immutable and may be
// shared.
type Rules struct {
	Table     *KeyTable
	Ports     int           // n, 1 to 128: the number of knocks in a sequence
	Tolerance time.Duration // the maximum distance of a timestamp from now; whole seconds
	// ISN derives the initial sequence number of each attempt. Without it, Knock.ISN
	// is zero. It costs one more HMAC for each authentic knock.
	ISN bool
}

// Verifier authenticates datagrams for one worker; it is not safe for
// concurrent use.
type Verifier struct {
	table     *KeyTable
	maximum   int8
	tolerance int64
	isn       bool
	mac       macState
}

// New returns a Verifier, and allocates its memory.
func New(r Rules) *Verifier {
	v := &Verifier{mac: newMACState()}
	v.SetRules(r)
	return v
}

// SetRules replaces the rules, from the next datagram on. It does not allocate.
func (v *Verifier) SetRules(r Rules) {
	v.table = r.Table
	v.maximum = int8(r.Ports - 1)
	v.tolerance = int64(r.Tolerance / time.Second)
	v.isn = r.ISN
}

// Verify checks a datagram that arrived on a port with the given places at now,
// in Unix seconds. The Knock is valid only if the Reason is Authentic. Verify
// does not allocate and does not retain its arguments.
func (v *Verifier) Verify(datagram []byte, places []schedule.Place, now int64) (Knock, Reason) {
	var c Candidate
	if reason := v.Precheck(&c, datagram, places, now); reason != Authentic {
		return Knock{}, reason
	}
	return v.Authenticate(&c, now)
}

// Candidate is a knock that has passed all checks except that of its HMAC. It
// is not authenticated.
type Candidate struct {
	knock    wire.Knock
	place    schedule.Place // its minute and port secret
	row      uint32         // of the client in the key table
	datagram []byte
}

// Precheck makes all cheap checks. If the datagram passes, Precheck fills in c
// and returns Authentic. The datagram must not change before Authenticate.
func (v *Verifier) Precheck(c *Candidate, datagram []byte, places []schedule.Place, now int64) Reason {
	k, place, reason := CheckFormat(datagram, v.maximum, places)
	if reason != Authentic {
		return reason
	}
	if d := int64(k.Timestamp) - now; d > v.tolerance || d < -v.tolerance {
		return ClockSkew
	}
	row, ok := v.table.find(k.Identifier)
	switch {
	case !ok:
		return Identifier
	case v.table.rows[row].expired(now):
		return Expired
	case k.Nonce < uint32(k.Sequence):
		return NonceUnderflow
	case v.table.below(row, k.Nonce, now):
		return BelowWindow
	}
	c.knock, c.place, c.row, c.datagram = k, place, row, datagram
	return Authentic
}

// Authenticate checks a candidate's HMAC.
func (v *Verifier) Authenticate(c *Candidate, now int64) (Knock, Reason) {
	signed := c.datagram[:wire.SignedSize]
	key, secret := v.table.authenticate(&v.mac, c.row, signed, c.knock.MAC[:], now)
	closes := false
	// A client without a lease closes nothing, so a flood in its name costs one HMAC.
	if secret == 0 && v.table.rows[c.row].leased.Load() != 0 {
		v.mac.closingMessage = wire.ClosingMessage([wire.SignedSize]byte(signed))
		key, secret = v.table.authenticate(&v.mac, c.row, v.mac.closingMessage[:], c.knock.MAC[:], now)
		closes = true
	}
	if secret == 0 {
		return Knock{}, MAC
	}
	k := Knock{
		identifier: c.knock.Identifier,
		sequence:   c.knock.Sequence,
		maximum:    c.knock.Maximum,
		nonce:      c.knock.Nonce,
		timestamp:  c.knock.Timestamp,
		minute:     c.place.Minute,
		portSecret: c.place.Secret,
		table:      v.table.number,
		secret:     secret,
		closes:     closes,
	}
	if v.isn && !closes {
		k.isn = v.mac.isn(key, k.identifier, k.Base())
	}
	return k, Authentic
}

// CheckFormat makes the checks that require neither the key table nor the time:
// the encoding, the maximum, and the knock's place, which must be one of the
// port's places. It returns the place for which the knock was made.
func CheckFormat(datagram []byte, maximum int8, places []schedule.Place) (wire.Knock, schedule.Place, Reason) {
	k, err := wire.Parse(datagram)
	if err != nil {
		return k, schedule.Place{}, reasonOf(err)
	}
	if k.Maximum != maximum {
		return k, schedule.Place{}, Maximum
	}
	place, reason := locate(k, places)
	return k, place, reason
}

// locate finds the place for which a knock was made: the one that has the knock's
// sequence ID and whose minute contains the timestamp. In the seconds where the slack
// of two minutes overlaps, it is the one whose minute contains the timestamp without
// slack. If several port secrets have the port at this place, the result names none.
func locate(k wire.Knock, places []schedule.Place) (place schedule.Place, reason Reason) {
	reason = Sequence
	exact := false
	for _, p := range places {
		if p.Index != k.Sequence {
			continue
		}
		inside := p.Minute.Contains(k.Timestamp, 0)
		switch {
		case !inside && (exact || !p.Minute.Contains(k.Timestamp, schedule.Slack)):
			if reason == Sequence {
				reason = Minute
			}
			continue
		case reason == Authentic && p.Minute == place.Minute:
			place.Secret = 0
			continue
		}
		place, exact, reason = p, inside, Authentic
	}
	return place, reason
}
