package firewall

import (
	"errors"

	"golang.org/x/sys/unix"
)

// maxSplits is how many transactions one that fails is split into, at most. The
// kernel takes milliseconds to give one up. What is left then fails together.
const maxSplits = 100

// splitting is a transaction that is split if it fails.
type splitting struct {
	table  *Table
	left   int              // transactions
	there  map[element]bool // what has been there before
	full   map[string]bool  // sets without room for one more element
	failed map[element]error
}

// transact makes an outcome so, in one transaction. If that fails it is split in
// two, and so on. It returns the error of each element that has failed.
func (t *Table) transact(o outcome) map[element]error {
	s := splitting{table: t, left: maxSplits, there: map[element]bool{}, full: map[string]bool{}, failed: map[element]error{}}
	now := t.clock.Monotonic()
	for e := range o {
		if now.Before(t.ends[e]) {
			s.there[e] = true
		}
	}
	s.run(o)
	return s.failed
}

func (s *splitting) run(o outcome) {
	for e, left := range o {
		if s.full[e.set] && left > 0 && !s.there[e] {
			s.failed[e] = unix.ENFILE
			delete(o, e)
		}
	}
	if len(o) == 0 {
		return
	}
	s.left--
	err := s.table.try(o)
	if err == nil {
		return
	}
	if len(o) > 1 && s.left > 0 && concernsSome(err) {
		for _, half := range halves(o) {
			s.run(half)
		}
		return
	}
	for e := range o {
		s.failed[e] = err
		if len(o) == 1 && errors.Is(err, unix.ENFILE) {
			s.full[e.set] = true
		}
	}
}

// try makes an outcome so, or leaves all as it is.
func (t *Table) try(o outcome) (err error) {
	if t.lost != nil {
		return t.lost
	}
	for range attempts {
		if err = t.apply(o); !errors.Is(err, unix.ENOENT) {
			break
		}
		// Another program may have removed the table: what it hides is open.
		done, failed := t.restore()
		if failed != nil && !disturbed(failed) {
			return failed
		}
		if done.Fault != "" {
			t.untold = done
		}
	}
	// After an error it may be there all the same, if only the answer was lost.
	t.remember(o, err == nil)
	return err
}

// concernsSome reports whether a transaction may have failed because of some of
// its elements. Without the table, or the right to change it, all fail.
func concernsSome(err error) bool {
	taken := (*OwnedError)(nil)
	if errors.Is(err, unix.EPERM) || errors.As(err, &taken) {
		return false
	}
	there, err := Present()
	return err == nil && there
}

func halves(o outcome) [2]outcome {
	two := [2]outcome{{}, {}}
	for e, left := range o {
		half := two[0]
		if len(half) >= (len(o)+1)/2 {
			half = two[1]
		}
		half[e] = left
	}
	return two
}
