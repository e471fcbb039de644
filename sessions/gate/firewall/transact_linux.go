package firewall

import (
	"errors"

	"golang.org/x/sys/unix"
)

// maxSplits is the number of transactions that a failed one is split into, at
// most. The kernel needs milliseconds to abort one. The remaining elements then
// fail together.
const maxSplits = 100

// splitter splits a transaction that fails.
type splitter struct {
	table    *Table
	left     int              // transactions
	existing map[element]bool // elements that existed before
	fullSets map[string]bool  // sets without room for a further element
	failed   map[element]error
}

// applySplit carries out want in one transaction. If that fails, it splits it
// in two halves, and so on. It returns the error of each element that failed.
func (t *Table) applySplit(want targets) map[element]error {
	s := splitter{
		table: t, left: maxSplits,
		existing: map[element]bool{}, fullSets: map[string]bool{}, failed: map[element]error{},
	}
	now := t.clock.Monotonic()
	for e := range want {
		if now.Before(t.latestEnd[e]) {
			s.existing[e] = true
		}
	}
	s.run(want)
	return s.failed
}

func (s *splitter) run(want targets) {
	for e, left := range want {
		if s.fullSets[e.set] && left > 0 && !s.existing[e] {
			s.failed[e] = unix.ENFILE
			delete(want, e)
		}
	}
	if len(want) == 0 {
		return
	}
	s.left--
	err := s.table.applyOrRestore(want)
	if err == nil {
		return
	}
	if len(want) > 1 && s.left > 0 && mayBePartial(err) {
		for _, half := range halves(want) {
			s.run(half)
		}
		return
	}
	for e := range want {
		s.failed[e] = err
		if len(want) == 1 && errors.Is(err, unix.ENFILE) {
			s.fullSets[e.set] = true
		}
	}
}

// applyOrRestore carries out want in one transaction, or changes nothing. If
// another program has removed the table, it restores it first.
func (t *Table) applyOrRestore(want targets) (err error) {
	if t.lostError != nil {
		return t.lostError
	}
	for range attempts {
		if err = t.apply(want); !errors.Is(err, unix.ENOENT) {
			break
		}
		// Another program may have removed the table: the ports are open.
		done, failed := t.restore()
		if failed != nil && !isConflict(failed) {
			return failed
		}
		if done.Fault != "" {
			t.unreported = done
		}
	}
	// After an error the elements may exist all the same, if only the reply was
	// lost.
	t.record(want, err == nil)
	return err
}

// mayBePartial reports whether a transaction may have failed because of some of
// its elements. Without the table, or without the privilege to change it, all
// fail.
func mayBePartial(err error) bool {
	otherOwner := (*OwnedError)(nil)
	if errors.Is(err, unix.EPERM) || errors.As(err, &otherOwner) {
		return false
	}
	there, err := Present()
	return err == nil && there
}

func halves(want targets) [2]targets {
	two := [2]targets{{}, {}}
	for e, left := range want {
		half := two[0]
		if len(half) >= (len(want)+1)/2 {
			half = two[1]
		}
		half[e] = left
	}
	return two
}
