package loglimit

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"sallyport/sessions"
)

const (
	// capacity is how many lines wait at most: if each is of another client, the last one
	// waits for a minute. reservedCapacity is how many more of the reserved kinds wait.
	capacity         = 512
	reservedCapacity = 64
	// orderly is how many lines may wait and still be written in their order.
	orderly = 16
	// maxOwners is how many owners, and how many parties, are remembered. The lines of
	// others have no bucket, and count as those of a party that was never served.
	maxOwners = 4096
	// overdue is how long the number of lines left out may wait for the next line.
	overdue = time.Minute
	// namedKinds is how many kinds a summary names.
	namedKinds = 12
)

// perOwner is the limit of the lines of one kind, client and service; of the reserved kinds
// also without a client.
var perOwner = sessions.Limit{Pause: 5 * time.Second, Burst: 20}

// owner is the kind of a line, with the client and service that it names.
type owner struct{ kind, client, service string }

// ownerless stands for the clients of leases that belong to none. Their identifiers begin
// with it, and each address has another one: a host with the secret of one operation, and
// many addresses, must not count as many clients.
const ownerless = "#"

func (o *owner) add(key, value string) {
	switch key {
	case "client", "operation":
		if strings.HasPrefix(value, ownerless) {
			value = ownerless
		}
		o.client = value
	case "service":
		o.service = value
	}
}

// party returns whose share of the room a line takes: that of its client; of its service,
// if its lease belongs to no client; of its kind and service if it names none.
func (o owner) party() string {
	switch o.client {
	case "":
	case ownerless:
		return "\x00" + ownerless + o.service
	default:
		return "\x00" + o.client
	}
	return o.kind + "\x00" + o.service
}

// line is a line that waits.
type line struct {
	of     owner
	record slog.Record
	number uint64 // of the lines in the order in which they came
}

// ownerState is what a room knows of an owner.
type ownerState struct {
	bucket sessions.Bucket
	left   uint64 // lines left out since its last line or the last summary
	epoch  uint64 // of the kind, when left was counted
}

// kind is the lines with one message.
type kind struct {
	left  uint64    // lines left out and not reported, of all owners
	since time.Time // when the first of them was left out
	epoch uint64    // how many summaries have reported the kind
	// bucket is of a reserved kind, if no owner has room for one.
	bucket sessions.Bucket
}

// party has the lines that wait of one client.
type party struct {
	name   string
	served time.Time // when its last line was written; zero: not lately
	lines  []line
}

// room holds the lines that wait, and counts those that are left out. Its decisions
// depend on its calls and their times only. It may not be used concurrently.
type room struct {
	reserved []line
	parties  []*party // that have lines, in the order in which they began to wait
	waiting  int      // lines of parties

	owners map[owner]*ownerState
	kinds  map[string]*kind
	served map[string]time.Time // parties, and when their last line was written
	swept  time.Time

	total uint64 // lines left out since the start
	last  uint64 // the number of the last line that came
}

func newRoom() *room {
	return &room{owners: map[owner]*ownerState{}, kinds: map[string]*kind{}, served: map[string]time.Time{}}
}

// put takes a line, or leaves one out.
func (r *room) put(now time.Time, l line) {
	r.last++
	l.number = r.last
	s := r.state(now, l.of)
	reserved := isReserved(l.of.kind)
	switch {
	case (l.of.client != "" || reserved) && !r.bucket(l.of, s, reserved).Take(now, perOwner):
		r.leave(now, l.of)
	case reserved && len(r.reserved) < reservedCapacity:
		r.reserved = append(r.reserved, l)
	case reserved:
		r.leave(now, l.of)
	default:
		r.seat(now, l)
	}
}

// bucket returns the bucket of a line. If its owner has none, a line of a reserved kind shares
// that of its kind, and another one has a full one.
func (r *room) bucket(o owner, s *ownerState, reserved bool) *sessions.Bucket {
	switch {
	case s != nil:
		return &s.bucket
	case reserved:
		return &r.kind(o.kind).bucket
	}
	return new(sessions.Bucket)
}

// kind returns what is known of a kind.
func (r *room) kind(name string) *kind {
	k := r.kinds[name]
	if k == nil {
		k = new(kind)
		r.kinds[name] = k
	}
	return k
}

// seat gives a line a place. If there is none, it takes the newest one of the party that
// has most lines, or that was served last among those.
func (r *room) seat(now time.Time, l line) {
	name := l.of.party()
	at := slices.IndexFunc(r.parties, func(p *party) bool { return p.name == name })
	if r.waiting >= capacity {
		mine := &party{name: name, served: r.served[name]}
		if at >= 0 {
			mine = r.parties[at]
		}
		most := slices.MaxFunc(r.parties, func(a, b *party) int {
			return cmp.Or(cmp.Compare(len(a.lines), len(b.lines)), a.served.Compare(b.served))
		})
		// A party never gives up a place for one that has as many, or its last one for
		// one that was served later.
		after := len(mine.lines) + 1
		if after > len(most.lines) || after == len(most.lines) && !mine.served.Before(most.served) {
			r.leave(now, l.of)
			return
		}
		last := len(most.lines) - 1
		r.leave(now, most.lines[last].of)
		most.lines = most.lines[:last]
		r.waiting--
		r.parties = slices.DeleteFunc(r.parties, func(p *party) bool { return len(p.lines) == 0 })
		at = slices.IndexFunc(r.parties, func(p *party) bool { return p.name == name })
	}
	if at < 0 {
		at = len(r.parties)
		r.parties = append(r.parties, &party{name: name, served: r.served[name]})
	}
	r.parties[at].lines = append(r.parties[at].lines, l)
	r.waiting++
}

// next returns the line to write, and how many of its owner it reports as left out. ok is
// false if none waits.
func (r *room) next(now time.Time) (l line, left uint64, ok bool) {
	if l, ok = r.summary(now, false); ok {
		return l, 0, true
	}
	pressed := len(r.reserved)+r.waiting > orderly
	at := r.first(pressed)
	if len(r.reserved) > 0 && (pressed || at < 0 || r.reserved[0].number < r.parties[at].lines[0].number) {
		l = r.reserved[0]
		r.reserved = slices.Delete(r.reserved, 0, 1)
		return l, r.takeLeft(l.of), true
	}
	if at < 0 {
		return l, 0, false
	}
	p := r.parties[at]
	l = p.lines[0]
	p.lines = slices.Delete(p.lines, 0, 1)
	r.waiting--
	r.serve(now, p)
	if len(p.lines) == 0 {
		r.parties = slices.Delete(r.parties, at, at+1)
	}
	return l, r.takeLeft(l.of), true
}

// first returns the party whose line comes next: the one that was served least recently, or,
// as long as few lines wait, the one that has the oldest; -1: none has a line.
func (r *room) first(pressed bool) int {
	at := -1
	for i, p := range r.parties {
		switch {
		case at < 0:
			at = i
		case pressed && p.served.Before(r.parties[at].served), !pressed && p.lines[0].number < r.parties[at].lines[0].number:
			at = i
		}
	}
	return at
}

// serve notes that a party has been served.
func (r *room) serve(now time.Time, p *party) {
	p.served = now
	if _, known := r.served[p.name]; !known && len(r.served) >= maxOwners {
		for name, at := range r.served {
			if now.Sub(at) > overdue {
				delete(r.served, name)
			}
		}
		if len(r.served) >= maxOwners {
			return
		}
	}
	r.served[p.name] = now
}

// has reports whether next would return a line.
func (r *room) has(now time.Time) bool {
	due, ok := r.due()
	return len(r.reserved) > 0 || r.waiting > 0 || ok && !due.After(now)
}

// due returns when the next summary is due; false: nothing is left out.
func (r *room) due() (at time.Time, ok bool) {
	for _, k := range r.kinds {
		if k.left > 0 && (!ok || k.since.Add(overdue).Before(at)) {
			at, ok = k.since.Add(overdue), true
		}
	}
	return at, ok
}

// leave counts a line as left out.
func (r *room) leave(now time.Time, o owner) {
	r.total++
	k := r.kind(o.kind)
	if k.left == 0 {
		k.since = now
	}
	k.left++
	if s := r.owners[o]; s != nil {
		if s.epoch != k.epoch {
			s.epoch, s.left = k.epoch, 0
		}
		s.left++
	}
}

// takeLeft returns how many lines of an owner were left out, and resets the number.
func (r *room) takeLeft(o owner) (left uint64) {
	s, k := r.owners[o], r.kinds[o.kind]
	if s == nil || k == nil || s.epoch != k.epoch {
		return 0
	}
	left, s.left = s.left, 0
	k.left -= left
	return left
}

// leaveAll leaves out all lines that wait, those of the reserved kinds only if asked to.
func (r *room) leaveAll(now time.Time, reserved bool) {
	if reserved {
		for _, l := range r.reserved {
			r.leave(now, l.of)
		}
		r.reserved = nil
	}
	for _, p := range r.parties {
		for _, l := range p.lines {
			r.leave(now, l.of)
		}
	}
	r.parties, r.waiting = nil, 0
}

// summary returns a line that reports all lines that were left out, if it is due or the
// last one.
func (r *room) summary(now time.Time, last bool) (l line, ok bool) {
	if at, any := r.due(); !any || at.After(now) && !last {
		return l, false
	}
	type number struct {
		kind string
		left uint64
	}
	var all []number
	var total uint64
	for name, k := range r.kinds {
		if k.left == 0 {
			continue
		}
		all = append(all, number{name, k.left})
		total += k.left
		k.left = 0
		k.epoch++
	}
	slices.SortFunc(all, func(a, b number) int {
		return cmp.Or(cmp.Compare(b.left, a.left), cmp.Compare(a.kind, b.kind))
	})
	var kinds []string
	for _, n := range all[:min(len(all), namedKinds)] {
		kinds = append(kinds, fmt.Sprintf("%d %s", n.left, n.kind))
	}
	if others := len(all) - len(kinds); others > 0 {
		kinds = append(kinds, fmt.Sprintf("%d others", others))
	}
	record := slog.NewRecord(time.Time{}, slog.LevelWarn, "log lines left out", 0) // the pump sets the time
	record.AddAttrs(slog.String("message", all[0].kind), slog.Uint64("left_out", total), slog.String("kinds", strings.Join(kinds, " | ")))
	return line{of: owner{kind: leftOut}, record: record}, true
}

// state returns what is known of an owner; nil: too many are in use.
func (r *room) state(now time.Time, o owner) *ownerState {
	if s := r.owners[o]; s != nil {
		return s
	}
	if len(r.owners) >= maxOwners && now.Sub(r.swept) >= perOwner.Pause {
		r.swept = now
		for other, s := range r.owners {
			if s.bucket.Full(now) {
				delete(r.owners, other)
			}
		}
	}
	if len(r.owners) >= maxOwners {
		return nil
	}
	s := new(ownerState)
	r.owners[o] = s
	return s
}
