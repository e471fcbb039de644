package ingest

import (
	"fmt"
	"log/slog"
	"maps"
	"time"

	"sallyport/ingest/prefilter"
)

// tier is a place where datagrams are refused by the table before this process
// reads them. One goroutine at a time, the rotation's, calls Set and Close.
type tier interface {
	// Set puts another table in force, in the place of the last one and without
	// a gap, and returns how much of it the tier enforces. The tier may accept
	// more than the table does, and must not accept less. If Set fails, the last
	// table stays in force.
	Set(prefilter.Table) (prefilter.Level, error)
	// Counts may be called by any goroutine.
	Counts() TierCounts
	// Close frees the tier. What it refuses from then on is its own affair.
	Close() error
}

// TierCounts is what a tier has refused since the start. Refused + Full +
// Either is all that it has not passed on.
type TierCounts struct {
	Name string
	// Level is how much of the rules the tier enforces.
	Level prefilter.Level
	// Counted is false of a tier that does not know how much it refuses.
	Counted bool
	Refused uint64 // datagrams that break a rule
	Full    uint64 // datagrams that found a full queue
	Either  uint64 // datagrams of which the kernel does not say which it was
}

// front is a tier before the sockets, and the table that it was given last.
type front struct {
	tier
	table  prefilter.Table
	logged bool // that it could not be narrowed
}

// set puts a table in force. A tier that cannot be narrowed accepts more than
// the table does, which is no failure: the next call tries again.
func (f *front) set(t prefilter.Table, log *slog.Logger) error {
	_, err := f.Set(t)
	switch {
	case err == nil:
		f.table, f.logged = t, false
	case !f.table.Covers(t):
		return err
	case !f.logged:
		f.logged = true
		log.Warn("failed to narrow a tier; retrying every second", "tier", f.Counts().Name, "error", err)
	}
	return nil
}

// knockSet is the firewall's set of ports that take knocks: the tier that knows
// ports only. Datagrams to other ports do not reach the sockets, if the
// firewall refuses them.
type knockSet struct {
	set  func(map[uint16]time.Time) error
	last map[uint16]time.Time
}

func (k *knockSet) Set(t prefilter.Table) (prefilter.Level, error) {
	open := t.Ends()
	if maps.Equal(open, k.last) {
		return prefilter.None, nil
	}
	if err := k.set(maps.Clone(open)); err != nil {
		return prefilter.None, fmt.Errorf("open the knock ports in the firewall: %w", err)
	}
	k.last = open
	return prefilter.None, nil
}

// Counts counts nothing: the firewall's rules belong to another process.
func (k *knockSet) Counts() TierCounts { return TierCounts{Name: "knock_set"} }

func (k *knockSet) Close() error { return nil }
