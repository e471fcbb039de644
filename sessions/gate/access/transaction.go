package access

import "time"

// Transaction is one Apply to a Set, parts of which can be undone.
type Transaction struct {
	set     *Set
	changes []Change
	before  []member
	errs    []error
}

// Begin puts changes into a set.
func (s *Set) Begin(changes []Change) *Transaction {
	t := &Transaction{set: s, changes: changes, before: make([]member, len(changes))}
	for i, c := range changes {
		t.before[i] = s.put(c.Peer, member{c.Until, c.LeaseOwners, s.of[c.Peer].used})
	}
	return t
}

// Opens reports whether a change admits a peer, or extends its time.
func (t *Transaction) Opens() bool { return t.any(func(i int) bool { return !t.changes[i].Revokes() }) }

// Revokes reports whether a change removes a peer.
func (t *Transaction) Revokes() bool {
	return t.any(func(i int) bool { return t.changes[i].Revokes() })
}

// Adds reports whether a change admits a peer that was not admitted before.
func (t *Transaction) Adds() bool { return t.any(t.adds) }

// Fail undoes all changes that admit a peer, and sets err as their error.
func (t *Transaction) Fail(err error) {
	t.fail(err, func(i int) bool { return !t.changes[i].Revokes() })
}

// FailAdded undoes only changes that admit peers that were not admitted before.
func (t *Transaction) FailAdded(err error) { t.fail(err, t.adds) }

// Cut returns the peers whose connections must end, independently of their
// owners, if they began at since or later.
func (t *Transaction) Cut() (gone Set, since time.Time) {
	for _, c := range t.changes {
		if !c.Revokes() || !c.Cut || c.Revoked {
			continue
		}
		if gone.Len() == 0 || c.Since.Before(since) {
			since = c.Since
		}
		gone.Add(c.Peer)
	}
	return gone, since
}

// Errs returns the result of Apply.
func (t *Transaction) Errs() []error { return t.errs }

// endless is later than every other time.
var endless = time.Unix(1<<40, 0)

func (t *Transaction) adds(i int) bool { return !t.changes[i].Revokes() && t.before[i].until.IsZero() }

func (t *Transaction) any(which func(int) bool) bool {
	for i := range t.changes {
		if which(i) {
			return true
		}
	}
	return false
}

func (t *Transaction) fail(err error, which func(int) bool) {
	for i := range t.changes {
		if !which(i) {
			continue
		}
		if t.errs == nil {
			t.errs = make([]error, len(t.changes))
		}
		t.set.put(t.changes[i].Peer, t.before[i])
		t.errs[i] = err
	}
}
