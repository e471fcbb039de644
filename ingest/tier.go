package ingest

import (
	"fmt"
	"log/slog"
	"maps"
	"time"

	"sallyport/ingest/prefilter"
)

// tier is a place where datagrams are refused, by the table, before this process
// reads them. One goroutine at a time calls Set and Close: the rotation's, and at
// the end that of Run.
type tier interface {
	// Set replaces the table in force without a gap, and returns how much of the
	// new one the tier enforces. The tier may accept more than the table does, but
	// must not accept less. If Set fails, the last table stays in force.
	Set(prefilter.Table) (prefilter.Level, error)
	// Counts may be called by any goroutine.
	Counts() TierCounts
	// Close frees the tier. It may or may not refuse datagrams afterwards.
	Close() error
}

// TierCounts counts the datagrams that a tier has refused since the start.
// Refused + Full + Either is the number that it has not passed on.
type TierCounts struct {
	Name string
	// Level is how much of the rules the tier enforces.
	Level prefilter.Level
	// Counted is false for a tier that does not count.
	Counted bool
	Refused uint64 // datagrams that break a rule
	Full    uint64 // datagrams that found a full queue
	// Either counts datagrams that were refused or found a full queue: the
	// kernel's counts do not show which.
	Either uint64
}

// front is a tier before the sockets, and the last table that it accepted.
type front struct {
	tier
	table  prefilter.Table
	logged bool // the failure to narrow it
}

// set puts a table in force. If the tier only fails to narrow, it accepts more
// than the table does. That is no error: the next call tries again.
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

// knockSet is the firewall's set of knock ports: a tier that knows only ports.
// Datagrams to other ports do not reach the sockets if the firewall drops them.
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
