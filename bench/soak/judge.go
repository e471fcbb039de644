package soak

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// openFor is how long a lease lasts.
	openFor = 2 * time.Second
	// grace is how late the end of a lease may be on a busy machine.
	grace = time.Second
	// restoring is how long, on a busy machine, the server may take to report that it has
	// restored the table of the firewall. Until then the services are exposed.
	restoring = 5 * time.Second
	// lookTime limits a connect. A closed port is silent.
	lookTime = 200 * time.Millisecond
	// mostViolations is how many violations a judge keeps.
	mostViolations = 100
)

// Violation is an observation that contradicts a promise.
type Violation struct {
	Time   time.Time `json:"time"`
	What   string    `json:"what"`
	Before string    `json:"action_before"` // of the schedule
}

// String is a line of the report.
func (v Violation) String() string {
	return fmt.Sprintf("%s %s; the action before: %s", v.Time.UTC().Format("15:04:05.000"), v.What, v.Before)
}

// Judge compares what clients have sent with what the server has granted, and with what
// connects have found. Its methods may be called by any goroutine.
type Judge struct {
	mu       sync.Mutex
	attempts map[netip.Addr]*attempt
	revoked  map[string]time.Time // client: when the command had returned
	actions  []action
	flushed  time.Time  // when the table was last removed
	exposed  []interval // from then until the server reported that it had restored the table
	seen     []sighting // of open services, which Finish compares with exposed
	found    []Violation
	count    Counts
}

// Counts are numbers of observations.
type Counts struct {
	Sequences  int `json:"sequences"` // complete ones
	Exchanges  int `json:"exchanges"`
	Incomplete int `json:"incomplete"` // sequences without their last knock
	Revoked    int `json:"revoked"`    // sequences of revoked clients
	Replays    int `json:"replays"`    // repeated sequences and exchanges
	Grants     int `json:"grants"`     // as the servers have reported to a watcher
	Lines      int `json:"lines"`      // of the log, about grants
	Looks      int `json:"looks"`      // connects, most of which should find nothing
	Actions    int `json:"actions"`    // of the schedule, and its end
	Exposures  int `json:"exposures"`  // connects that succeeded while a removed table was being restored
	Violations int `json:"violations"`
}

type action struct {
	at   time.Time
	what string
}

type interval struct{ from, to time.Time }

type sighting struct {
	at   time.Time
	what string
}

// attempt is a sequence or an exchange. Its address belongs to no other attempt.
type attempt struct {
	client  string // empty: an exchange
	packets int    // to send
	sent    int
	last    time.Time // of the last packet
	granted bool      // as the server has reported to a watcher
	until   map[string]time.Time
}

// NewJudge returns a judge that knows of no attempt.
func NewJudge() *Judge {
	return &Judge{attempts: map[netip.Addr]*attempt{}, revoked: map[string]time.Time{}}
}

// Acted records an action of the schedule.
func (j *Judge) Acted(at time.Time, what string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.count.Actions++
	j.actions = append(j.actions, action{at, what})
}

// Revoked records that a client has been revoked.
func (j *Judge) Revoked(at time.Time, client string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.revoked[client] = at
}

// Flushed records, immediately before, that the table of the firewall is removed.
func (j *Judge) Flushed(at time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.flushed = at
}

// Restored records that the server has reported that it has restored the table.
func (j *Judge) Restored(at time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if at.Sub(j.flushed) < restoring {
		j.exposed = append(j.exposed, interval{j.flushed, at})
	}
}

// Begin records an attempt before its first packet. It opens something only when all its
// packets are sent.
func (j *Judge) Begin(from netip.Addr, client string, packets int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.attempts[from] = &attempt{client: client, packets: packets, until: map[string]time.Time{}}
}

// Sending records, immediately before a packet is sent, that it is.
func (j *Judge) Sending(at time.Time, from netip.Addr) {
	j.mu.Lock()
	defer j.mu.Unlock()
	a := j.attempts[from]
	a.sent, a.last = a.sent+1, at
}

// State reports whether the attempt of an address has opened something, and whether some of
// its packets were not sent.
func (j *Judge) State(from netip.Addr) (used, incomplete bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	a := j.attempts[from]
	return a != nil && a.granted, a != nil && a.sent < a.packets
}

// Count changes the counts.
func (j *Judge) Count(change func(*Counts)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	change(&j.count)
}

// Granted judges a grant that the server has reported to a watcher. The client of an exchange
// is empty.
func (j *Judge) Granted(at time.Time, from netip.Addr, client string, services []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.count.Grants++
	a := j.due(at, from, client, "grant")
	if a == nil {
		return
	}
	if a.granted {
		j.violation(at, fmt.Sprintf("grant to %s: the second one for its nonces", from))
	}
	a.granted = true
	for _, service := range services {
		a.until[service] = at.Add(openFor)
	}
}

// Logged judges a line of the log about a grant. The log leaves out lines if there are many,
// and has those that the watcher of a killed server has missed.
func (j *Judge) Logged(at time.Time, from netip.Addr, client, service string, until time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.count.Lines++
	a := j.due(at, from, client, "log line")
	if a == nil {
		return
	}
	if until.After(at.Add(openFor + grace)) {
		j.violation(at, fmt.Sprintf("lease of %s until %s, longer than %s", from, until.UTC().Format(time.RFC3339Nano), openFor))
	}
	if _, known := a.until[service]; !known {
		a.until[service] = at.Add(openFor)
	}
}

// due returns the attempt of an address, if it should have opened something.
func (j *Judge) due(at time.Time, from netip.Addr, client, what string) *attempt {
	a := j.attempts[from]
	what = fmt.Sprintf("%s of %s, client %q", what, from, client)
	switch {
	case a == nil:
		j.violation(at, what+", which has sent nothing")
	case a.sent < a.packets:
		j.violation(at, fmt.Sprintf("%s, after %d of %d packets", what, a.sent, a.packets))
	case a.client != client:
		j.violation(at, fmt.Sprintf("%s, for packets of client %q", what, a.client))
	case j.wasRevoked(a.client, a.last):
		j.violation(at, what+", revoked before its last knock")
	}
	return a
}

func (j *Judge) wasRevoked(client string, at time.Time) bool {
	revoked, ok := j.revoked[client]
	return ok && at.After(revoked)
}

// Looked judges a connect that began at a time.
func (j *Judge) Looked(begin time.Time, from netip.Addr, service string, open bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.count.Looks++
	if !open {
		return
	}
	if what := j.forbidden(begin, from, service); what != "" {
		j.seen = append(j.seen, sighting{begin, what})
	}
}

// forbidden returns why an address may not be let in at a time; empty: it may.
func (j *Judge) forbidden(at time.Time, from netip.Addr, service string) string {
	a := j.attempts[from]
	open := fmt.Sprintf("%s is open to %s", service, from)
	if a == nil {
		return open + ", a stranger"
	}
	if a.sent < a.packets {
		return fmt.Sprintf("%s after %d of %d packets", open, a.sent, a.packets)
	}
	if j.wasRevoked(a.client, at) {
		return fmt.Sprintf("%s, whose client %s is revoked", open, a.client)
	}
	until, granted := a.until[service]
	if !granted {
		until = a.last.Add(openFor) // the server may have ended before it reported the grant
	}
	if late := at.Sub(until); late > grace {
		return fmt.Sprintf("%s, %s after the end of its lease", open, late.Round(time.Millisecond))
	}
	return ""
}

// Left judges what is left at the end, beside what there was at the beginning.
func (j *Judge) Left(at time.Time, what string, before, after int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if after > before {
		j.violation(at, fmt.Sprintf("%s left at the end: %d, at the beginning %d", what, after, before))
	}
}

// Failed records that a part of the run did not do its work, so nothing is proved.
func (j *Judge) Failed(at time.Time, what string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.violation(at, what)
}

func (j *Judge) violation(at time.Time, what string) {
	j.count.Violations++
	if len(j.found) == mostViolations {
		return
	}
	before := "none"
	for _, a := range slices.Backward(j.actions) {
		if !a.at.After(at) {
			before = fmt.Sprintf("%s, %s earlier", a.what, at.Sub(a.at).Round(time.Millisecond))
			break
		}
	}
	j.found = append(j.found, Violation{at, what, before})
}

// Finish returns the counts and the violations in the order of their times.
func (j *Judge) Finish() (Counts, []Violation) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range j.seen {
		if slices.ContainsFunc(j.exposed, func(i interval) bool {
			return !s.at.Before(i.from.Add(-lookTime)) && s.at.Before(i.to)
		}) {
			j.count.Exposures++
			continue
		}
		j.violation(s.at, s.what)
	}
	j.seen = nil
	slices.SortStableFunc(j.found, func(a, b Violation) int { return a.Time.Compare(b.Time) })
	return j.count, slices.Clone(j.found)
}
