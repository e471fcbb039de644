package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/fleet/cluster"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// Config is what Open needs. All fields are required.
type Config struct {
	Cluster cluster.Config // without Position and Gap
	Dir     string         // the state directory: see position.go
	// Local is the record on this host's disk, which is written at the same time.
	Local sessions.Journal
	// Registered reports whether a client is in the list of clients. Others take no
	// memory here.
	Registered func(wire.Identifier) bool
	Wall       func() time.Time // the clock with which timestamps of knocks are compared
	Log        *slog.Logger
}

// Journal is a sessions.Journal on etcd.
type Journal struct {
	cluster    *cluster.Cluster
	local      sessions.Journal
	registered func(wire.Identifier) bool
	wall       func() time.Time
	log        *slog.Logger
	view       *view
	position   *position
	// lostUntil: nonces may be used without a record if they are stamped up to this Unix
	// time. 0: none.
	lostUntil atomic.Int64
	// elapsed is the time since Open, by a clock that is never set. lostAt is its value at
	// the last gap since Open, plus 1; 0: there was none.
	elapsed     func() time.Duration
	lostAt      atomic.Int64
	unavailable atomic.Uint64
	onGap       gapHook
	unreadable  sync.Once    // a line of the log
	gapLogged   atomic.Int64 // the limit in the last line of the log about a gap
}

// Open opens the connection, and never waits for etcd. The Journal must be closed.
func Open(cfg Config) (*Journal, error) {
	start := time.Now()
	j := &Journal{
		local: cfg.Local, registered: cfg.Registered, wall: cfg.Wall, log: cfg.Log, view: newView(),
		elapsed: func() time.Duration { return time.Since(start) },
	}
	var err error
	if j.position, err = readPosition(cfg.Dir); err != nil {
		return nil, err
	}
	j.lostUntil.Store(j.position.lostUntil)
	cfg.Cluster.Position = j.position.known
	cfg.Cluster.Gap = func(g cluster.Gap) { j.gap(g.String(), g.Now) }
	if j.cluster, err = cluster.Open(cfg.Cluster); err != nil {
		return nil, err
	}
	return j, nil
}

// Cluster returns the connection, which the Journal closes.
func (j *Journal) Cluster() *cluster.Cluster { return j.cluster }

// Close closes the connection, and writes the position.
func (j *Journal) Close() error {
	j.cluster.Close()
	j.position.raise(j.limit())
	return j.position.save(j.cluster.Position())
}

// Stats are counts since Open.
type Stats struct {
	Unavailable uint64 // entries that were refused because etcd did not answer, or refused them
	Gaps        uint64 // gaps in the record that etcd has
}

// Stats returns the counts.
func (j *Journal) Stats() Stats { return Stats{j.unavailable.Load(), j.position.gaps.Load()} }

// errGap is the error of entries whose nonces may be used without a record.
var errGap = errors.New("etcd has lost a part of its record")

// gapPause is the time between two lines of the log about gaps, in seconds: a gateway
// that was taken over can make any number.
const gapPause = 60

// errDeleted is the reason of a gap.
const errDeleted = "records of nonces were deleted"

// gap refuses knocks stamped up to now and the maximum tolerance, at this gateway, as
// after the loss of a state file. The record before it is of no use.
func (j *Journal) gap(reason string, now cluster.Position) {
	until := j.wall().Add(schedule.MaxTolerance).Unix()
	raise(&j.lostAt, int64(j.elapsed())+1)
	raise(&j.lostUntil, until)
	j.view.clear()
	j.onGap.call()
	err := j.position.lost(now, j.lostUntil.Load())
	if last := j.gapLogged.Load(); until < last || until-last >= gapPause {
		j.gapLogged.Store(until)
		j.log.Error("nonce record of the fleet incomplete; rejecting older knocks", "reason", reason, "not_before", time.Unix(until, 0))
	}
	if err != nil {
		j.log.Error("failed to write the position in etcd", "error", err)
	}
}

func raise(v *atomic.Int64, to int64) {
	for {
		old := v.Load()
		if old >= to || v.CompareAndSwap(old, to) {
			return
		}
	}
}

// OnGap sets a function that is called at each gap, and at once if there was one since
// Open. It must not wait, nor use the Journal.
func (j *Journal) OnGap(f func()) {
	j.onGap.set(f)
}

// gapHook is a function, and how often it was missed.
type gapHook struct {
	mu     sync.Mutex
	f      func()
	missed bool
}

func (h *gapHook) set(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.f = f; h.missed {
		f()
	}
}

func (h *gapHook) call() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.f == nil {
		h.missed = true
		return
	}
	h.f()
}

// refuses reports whether the record of an attempt may be lost. While the limit is not on
// disk, that is any: a restart would forget it.
func (j *Journal) refuses(e *sessions.Entry) bool {
	until := j.limit()
	return until > 0 && int64(e.Stamp) <= until || j.position.unsaved.Load()
}

// limit returns up to which stamp knocks are refused. If the clock was behind at a gap, and
// was set forward since, the time of the gap by the clock as it is now counts too. Twice
// the tolerance after a gap, no knock from before it is valid.
func (j *Journal) limit() int64 {
	until := j.lostUntil.Load()
	if at := j.lostAt.Load(); at > 0 {
		if since := j.elapsed() - time.Duration(at-1); since <= 2*schedule.MaxTolerance {
			until = max(until, j.wall().Add(schedule.MaxTolerance-since).Unix())
		}
	}
	return until
}

// Record implements sessions.Journal. It returns within the timeout of the Cluster, and
// the time of the local record.
func (j *Journal) Record(entries []sessions.Entry) []error {
	local := make(chan []error, 1)
	go func() { local <- j.local.Record(entries) }()
	errs := j.record(entries)
	for i, err := range <-local {
		if errs[i] == nil {
			errs[i] = err
		}
	}
	for _, err := range errs {
		if err != nil {
			return errs
		}
	}
	return nil
}

// maxTries is the maximum number of requests for a client in one call of Record. All of
// its clients wait for the last one, and a gateway that was taken over can write one key all
// the time.
const maxTries = 5

var errContended = errors.New("other gateways write the record of the client all the time")

// pending is a client whose entries are not recorded yet.
type pending struct {
	id      wire.Identifier
	entries []int // into the list of entries
	known   known
	next    value
	err     error // of the last request
	done    bool
}

// record writes entries to etcd, and returns an error or nil for each.
func (j *Journal) record(entries []sessions.Entry) []error {
	ctx, cancel := context.WithTimeout(context.Background(), j.cluster.Timeout())
	defer cancel()
	errs := make([]error, len(entries))
	gaps := j.position.gaps.Load()
	j.position.retry()
	waiting := j.group(entries)
	for tries := 1; len(waiting) > 0; tries++ {
		waiting = j.decide(waiting, entries, errs)
		j.send(ctx, waiting)
		rest := waiting[:0]
		for _, p := range waiting {
			switch {
			case p.done:
			case p.err == nil && tries == maxTries:
				p.fail(errs, errContended)
			case p.err != nil:
				p.fail(errs, p.err)
			default:
				rest = append(rest, p)
			}
		}
		waiting = rest
	}
	for i := range entries {
		if errs[i] == nil && j.position.gaps.Load() != gaps && j.refuses(&entries[i]) {
			errs[i] = errGap
		}
		if errs[i] != nil && !errors.Is(errs[i], sessions.ErrUsed) && !errors.Is(errs[i], errGap) {
			j.unavailable.Add(1)
		}
	}
	return errs
}

// group returns the clients of entries: a request must not have a key twice.
func (j *Journal) group(entries []sessions.Entry) (list []*pending) {
	index := make(map[wire.Identifier]*pending, len(entries))
	for i := range entries {
		id := entries[i].Identifier
		p := index[id]
		if p == nil {
			p = &pending{id: id, known: j.view.get(id)}
			index[id] = p
			list = append(list, p)
		}
		p.entries = append(p.entries, i)
	}
	return list
}

// decide compares the attempts with what is known of their clients, and makes the next
// values. It returns the clients that have something to record.
func (j *Journal) decide(waiting []*pending, entries []sessions.Entry, errs []error) []*pending {
	rest := waiting[:0]
	for _, p := range waiting {
		p.next = p.known.value
		unused := p.entries[:0]
		for _, i := range p.entries {
			switch e := &entries[i]; {
			case j.refuses(e):
				errs[i] = errGap
			case !p.known.unused(e):
				errs[i] = sessions.ErrUsed
			default:
				unused = append(unused, i)
				p.next = p.next.with(e)
			}
		}
		if p.entries = unused; len(unused) > 0 {
			p.next.tag = rand.Uint64()
			rest = append(rest, p)
		}
	}
	return rest
}

func (p *pending) fail(errs []error, err error) {
	for _, i := range p.entries {
		errs[i] = fmt.Errorf("record in the fleet: %w", err)
	}
}
