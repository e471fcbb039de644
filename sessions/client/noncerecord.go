package client

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"sallyport/verify/wire"
)

// nonceSkip is how far the nonces of a clockwise sequence are above jumpTarget: more
// than earlier releases use.
const nonceSkip = 1 << 24

// upperHalf is the lowest nonce of a clockwise sequence. Clients begin below it.
const upperHalf = 1 << 31

// nonceCount is the number of nonces of a secret.
const nonceCount = 1 << 32

// probes are how far each attempt is, at least, above the last nonce that has opened
// something, after as many attempts that have opened nothing. All are below
// wire.MaxAhead/2: if the client takes an attempt for opened that has not arrived, the
// next ones still reach no further than wire.MaxAhead.
var probes = [...]uint64{0, 1 << 12, 1 << 16, 1 << 17, 1 << 18, 6 << 16, 7 << 16}

// nonceRecord is the content of a nonce file.
type nonceRecord struct {
	opened uint64 // the nonce after the last one that has opened something, or the first one
	next   uint64 // of the next attempt; at least opened
	// other is a second next nonce: the server may have accepted the nonces before it
	// instead. 0: none.
	other uint64
	// confirmed: something has opened since next was last taken from other, or from the
	// clock.
	confirmed bool
	unopened  int // attempts since something opened
	used      nonceSet
}

// newRecord returns the record of a client whose nonces below next are used.
func newRecord(next uint64) nonceRecord {
	return nonceRecord{opened: next, next: next, confirmed: true, used: nonceSet(nil).add(0, next)}
}

// attemptNonces are the nonces of an attempt.
type attemptNonces struct {
	base    uint32
	other   bool // from nonceRecord.other
	moved   bool // ahead of the next nonce, since attempts have failed
	byClock bool // a sequence should follow whose nonces go by the clock, if this one opens nothing

	unopened int  // attempts before since something opened
	hasOther bool // nonceRecord.other is set
}

// reserve reserves n nonces for an attempt. Each is above those before, which may have
// arrived. Ok: there are so many.
func (r *nonceRecord) reserve(now time.Time, n int) (a attemptNonces, ok bool) {
	try := r.unopened % 3
	a = attemptNonces{byClock: try == 2 || try == 0 && r.unopened > 0, unopened: r.unopened, hasOther: r.other > 0}
	from := &r.next
	if a.other = try == 1 && r.other > 0; a.other {
		from = &r.other
	}
	if !a.other {
		// Nonces that go by the clock do not overtake it, so that other devices pass them.
		to := min(r.opened+probes[min(r.unopened, len(probes)-1)], clockAbove(r.next-min(r.next, wire.MaxAhead), 0, now))
		if to > r.next && to+uint64(n) <= nonceCount {
			r.next, a.moved = to, true
		}
	}
	if a.base, ok = r.take(*from, n); ok {
		*from = uint64(a.base) + uint64(n)
	}
	return a, ok
}

// more reserves n nonces for one more sequence of an attempt.
func (r *nonceRecord) more(other bool, n int) (base uint32, ok bool) {
	from := &r.next
	if other && r.other > 0 {
		from = &r.other
	}
	if base, ok = r.take(*from, n); ok {
		*from = uint64(base) + uint64(n)
	}
	return base, ok
}

// take reserves n nonces from a nonce on. Ok: there are so many.
func (r *nonceRecord) take(from uint64, n int) (base uint32, ok bool) {
	at := r.used.free(from, n)
	if at+uint64(n) > nonceCount {
		return 0, false
	}
	r.used = r.used.add(at, at+uint64(n))
	return uint32(at), true
}

// takeByClock reserves n nonces at jumpTarget plus nonceSkip. After two rounds of
// attempts without success, or if the client is there already, it adds nonceSkip once
// more: a device with the same profile may have used more than a nonce a second.
//
// The server may accept these nonces although it has those of the client, and the client
// does not learn that. So other follows them if the client can still reach them. All
// sequences that the server may have accepted stay in the reach of each other: they stop
// following the clock, for at most 12 days, before they leave it. Not ok: the client is
// further, or would forget other nonces.
func (r *nonceRecord) takeByClock(now time.Time, n int) (base uint32, ok bool) {
	level := uint64(1)
	if r.unopened > 3 {
		level = 2
	}
	highest := max(r.next, r.other)
	to := clockAbove(highest, level, now)
	behind := r.other > 0 && r.other < r.next
	switch inReach := to < highest+wire.MaxAhead; {
	case !inReach:
		return r.take(to, n)
	case behind && to > r.opened+maxAlone:
		if to = r.opened + maxAlone; to < r.next {
			return 0, false
		}
	case !behind && to > r.used.after(r.next)+maxAlone:
		// The server may have accepted the first of these sequences only.
		to = max(r.other, r.next)
	}
	if base, ok = r.take(to, n); !ok {
		return 0, false
	}
	if end := uint64(base) + uint64(n); behind {
		r.next = end
	} else {
		r.other = end
	}
	return base, true
}

// maxAlone is how far a client may be above the last nonce that has opened something,
// and still make some thousand attempts before it leaves wire.MaxAhead.
const maxAlone = wire.MaxAhead - 1<<17

// clockAbove returns the lowest of jumpTarget, and that plus nonceSkip once or twice,
// that is not below n, from a level on; if there is none, a number above all nonces.
func clockAbove(n, level uint64, now time.Time) uint64 {
	for ; level <= 2; level++ {
		if to := jumpTarget(now) + level*nonceSkip; to >= n {
			return to
		}
	}
	return nonceCount
}

// jumpTarget is upperHalf plus the seconds since 2020: devices with one profile pass
// each other there. Whatever the clock shows, 1/16 of all nonces are left.
func jumpTarget(now time.Time) uint64 {
	const since, most = 1_577_836_800, upperHalf - nonceCount/16
	return upperHalf + uint64(min(max(now.Unix()-since, 0), most))
}

// open records that the n nonces from base have opened something. Certain: nothing was
// open before.
func (r *nonceRecord) open(base uint32, n int, certain bool) {
	first := r.unopened <= 1
	r.unopened = 0
	from, end := uint64(base), uint64(base)+uint64(n)
	switch {
	case from >= r.opened && from < r.next:
		if r.opened, r.confirmed = end, true; first && certain {
			r.other = 0
		}
	case end <= r.other && end+wire.MaxAhead > r.other:
		r.opened, r.next, r.other, r.confirmed = end, r.other, r.next, true
	case from >= r.next:
		// It went by the clock. An earlier sequence may have opened the service instead,
		// and the server may have refused this one.
		if r.other == 0 || r.other > r.next || r.confirmed {
			r.other = r.next
		}
		r.opened, r.next, r.confirmed = end, end, false
	case !r.confirmed:
		r.other = end
	}
	r.compact()
}

// sent records that the n nonces from base, which go by the clock, may have opened
// something.
func (r *nonceRecord) sent(base uint32, n int) {
	if r.other == 0 || r.other > r.next {
		r.other = uint64(base) + uint64(n)
	}
}

// raise records that all nonces below first are used.
func (r *nonceRecord) raise(first uint64) {
	r.opened, r.next = max(r.opened, first), max(r.next, first)
	if r.other < first {
		r.other = 0
	}
	r.compact()
}

// compact joins the spans below all nonces that the client can use.
func (r *nonceRecord) compact() {
	lowest := r.next
	if r.other > 0 {
		lowest = min(lowest, r.other)
	}
	r.used = r.used.add(0, lowest)
}

// The versions of the file. Version 1 has only the next nonce; version 2 also whether
// attempts have failed since something opened. The first line of each is its name.
const (
	nonceHeader1 = "sallyport-nonce 1\n"
	nonceHeader2 = "sallyport-nonce 2\n"
	nonceHeader  = "sallyport-nonce 3\n"
)

func (r nonceRecord) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%sopened %d\nnext %d\nother %d\nconfirmed %t\nunopened %d\n", nonceHeader, r.opened, r.next, r.other, r.confirmed, r.unopened)
	for _, u := range r.used {
		fmt.Fprintf(&b, "used %d %d\n", u.from, u.end)
	}
	return b.String()
}

var errNewer = errors.New("a newer version of sallyport wrote this nonce file")

func parseNonce(text string) (r nonceRecord, err error) {
	const expected = "not a nonce file: expected the lines %q and \"opened NUMBER\""
	wrong := fmt.Errorf(expected, strings.TrimSpace(nonceHeader))
	version, rest, ok := strings.Cut(text, "\n")
	if !ok || !strings.HasPrefix(version, "sallyport-nonce ") {
		return r, wrong
	}
	var unopened int
	switch version + "\n" {
	case nonceHeader1:
		var next uint64
		fmt.Sscanf(rest, "next %d\n", &next)
		ok, r = rest == fmt.Sprintf("next %d\n", next), nonceRecord{next: next}
	case nonceHeader2:
		var next uint64
		fmt.Sscanf(rest, "next %d\nunopened %d\n", &next, &unopened)
		ok, r = rest == fmt.Sprintf("next %d\nunopened %d\n", next, unopened) && unopened >= 0 && unopened <= 2, nonceRecord{next: next}
	case nonceHeader:
		r = parseRecord(rest)
		ok = r.String() == text && r.valid()
	default:
		return r, errNewer
	}
	if !ok || r.next > nonceCount {
		return nonceRecord{}, wrong
	}
	if version+"\n" != nonceHeader {
		// The attempts that failed since may have moved it ahead; that is not recorded.
		return newRecord(r.next), nil
	}
	r.compact()
	return r, nil
}

// parseRecord reads the lines after the first. The caller compares the result with the
// text.
func parseRecord(text string) (r nonceRecord) {
	fmt.Sscanf(text, "opened %d\nnext %d\nother %d\nconfirmed %t\nunopened %d\n", &r.opened, &r.next, &r.other, &r.confirmed, &r.unopened)
	for line := range strings.Lines(text) {
		var u span
		if n, _ := fmt.Sscanf(line, "used %d %d\n", &u.from, &u.end); n == 2 && len(r.used) <= maxSpans {
			r.used = append(r.used, u)
		}
	}
	return r
}

func (r nonceRecord) valid() bool {
	return r.opened <= r.next && r.next <= nonceCount && r.other <= nonceCount && r.unopened >= 0 && r.used.valid()
}
