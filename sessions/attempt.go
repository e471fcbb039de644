package sessions

import (
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"
	"strconv"

	"sallyport/verify"
	"sallyport/verify/replay"
	"sallyport/verify/schedule"
)

// attempt is one sequence of a client, of which at least one knock has arrived. A
// minute, a base nonce and the sources of its knocks identify it. Which of its knocks
// have arrived is in the window: no knock arrives twice.
type attempt struct {
	source    source // of the first knock
	base      uint32
	began     milliseconds
	timestamp uint32 // of the first knock
	// portSecret is the one from whose ports knocks of the attempt came; zero: each came
	// at a port that several port secrets have at this index.
	portSecret schedule.SecretName
	count      uint8 // knocks recorded
	differ     uint8 // in how many low bits the sources differ
	apart      int8  // the minute of its ports less that of the timestamp
	flags      attemptFlags
}

// attemptFlags are bits: an attempt has no room for a bool each.
type attemptFlags uint8

const (
	closes attemptFlags = 1 << iota // its knocks close; those of others open
	failed                          // a knock came from an address that is not allowed: see notice
	mixed                           // its knocks have several timestamps
)

func (a *attempt) is(f attemptFlags) bool { return a.flags&f != 0 }

func newAttempt(k *verify.Knock, from source, now milliseconds) attempt {
	a := attempt{
		source: from, base: k.Base(), began: now, timestamp: k.Timestamp(),
		apart: int8(k.Minute() - minuteOf(k.Timestamp())),
	}
	if k.Closes() {
		a.flags = closes
	}
	return a
}

// minute is that of the attempt's ports.
func (a *attempt) minute() schedule.Minute { return minuteOf(a.timestamp) + schedule.Minute(a.apart) }

// minuteOf returns the minute that contains a timestamp. That of a knock's port is next
// to it at most: see schedule.Slack.
func minuteOf(timestamp uint32) schedule.Minute { return schedule.Minute(timestamp / 60) }

// record adds a knock of the attempt whose nonce was unused.
func (a *attempt) record(k *verify.Knock, from source, s Spread) Outcome {
	switch {
	case k.Minute() != a.minute():
		return OtherMinute
	case k.Closes() != a.is(closes):
		return OtherPurpose
	}
	if from != a.source {
		differ := from.differ(a.source)
		if differ > from.spread(s) {
			return OtherSource
		}
		a.differ = max(a.differ, differ)
	}
	a.count++
	if k.Timestamp() != a.timestamp {
		a.flags |= mixed
	}
	if name := k.PortSecret(); name != 0 {
		a.portSecret = name
	}
	if int(a.count) == int(k.Maximum())+1 {
		return Opened
	}
	return Recorded
}

// made returns what identifies the datagrams of the attempt, which a knock completes.
func (a *attempt) made(k *verify.Knock) Attempt {
	return Attempt{
		Secret: k.Secret(), Base: a.base, Timestamp: a.timestamp, Count: uint8(k.Maximum()) + 1, Mixed: a.is(mixed),
	}
}

// retire marks all nonces of the attempt as used, also those that have not arrived.
func (a *attempt) retire(last uint8, w *replay.Window) {
	for n := uint64(a.base); n <= min(uint64(a.base)+uint64(last), math.MaxUint32); n++ {
		w.Accept(uint32(n))
	}
}

// source is the source address of a knock, without a pointer, so that a million slots
// cost the garbage collector nothing.
type source struct {
	address [16]byte // IPv4 as ::ffff:0:0/96
	link    uint32   // of a link-local address: the index of its interface
}

// sourceOf returns a source. The zone of an address is a number, as package ingest
// writes it; all others are one link, which does not exist.
func sourceOf(a netip.Addr) source {
	s := source{address: a.As16()}
	if zone := a.Zone(); zone != "" {
		n, err := strconv.ParseUint(zone, 10, 32)
		if s.link = uint32(n); err != nil {
			s.link = math.MaxUint32
		}
	}
	return s
}

func (s source) addr() netip.Addr {
	a := netip.AddrFrom16(s.address).Unmap()
	if s.link != 0 {
		a = a.WithZone(strconv.FormatUint(uint64(s.link), 10))
	}
	return a
}

// differ returns in how many low bits two sources differ: more than any Spread allows if
// they have different families or links.
func (s source) differ(other source) uint8 {
	if s.link != other.link || s.is4() != other.is4() {
		return math.MaxUint8
	}
	word := func(i int) uint64 {
		return binary.BigEndian.Uint64(s.address[i:]) ^ binary.BigEndian.Uint64(other.address[i:])
	}
	if high := word(0); high != 0 {
		return uint8(64 + bits.Len64(high))
	}
	return uint8(bits.Len64(word(8)))
}

func (s source) is4() bool { return [12]byte(s.address[:]) == [12]byte{10: 0xff, 11: 0xff} }

// spread returns in how many low bits another source may differ from this one. A
// link-local address is significant as a whole: see access.PeerOf.
func (s source) spread(allowed Spread) uint8 {
	switch {
	case s.is4():
		return allowed.IPv4
	case s.address[0] == 0xfe && s.address[1]&0xc0 == 0x80:
		return 0
	}
	return allowed.IPv6
}

// Spread is in how many low bits the sources of the knocks of one attempt may differ,
// because some service of the client opens for a prefix. The zero value: in none.
type Spread struct{ IPv4, IPv6 uint8 }
