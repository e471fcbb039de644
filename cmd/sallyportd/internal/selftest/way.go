package selftest

import (
	"slices"

	"sallyport/sessions"
)

// Journal returns a journal that records the entries of the test in local, and all others
// in next.
func (t *Tester) Journal(next, local sessions.Journal) sessions.Journal {
	return &journal{t, next, local}
}

type journal struct {
	*Tester
	next, local sessions.Journal
}

func (j *journal) own(e sessions.Entry) bool { return e.Identifier == j.key.Identifier }

// Record implements sessions.Journal.
func (j *journal) Record(entries []sessions.Entry) []error {
	defer j.wait()()
	if !slices.ContainsFunc(entries, j.own) {
		return j.next.Record(entries)
	}
	var own, others []sessions.Entry
	for _, e := range entries {
		if !j.own(e) {
			others = append(others, e)
			continue
		}
		// Its stamp must not count as that of a client, by which a start judges the clock.
		e.Identifier, e.Secret, e.Stamp = recorded, recordedSecret, 1
		own = append(own, e)
	}
	return merged(entries, j.own, j.local.Record(own), recordIf(j.next, others))
}

func recordIf(j sessions.Journal, entries []sessions.Entry) []error {
	if len(entries) == 0 {
		return nil
	}
	return j.Record(entries)
}

// Opener is a service that opens nothing.
type Opener interface{ Open(sessions.Grant) error }

// Gate returns a gate that opens nothing for the grants of the test, and passes all others
// on.
func (t *Tester) Gate(next sessions.Gate, nothing Opener) sessions.Gate {
	return &gate{t, next, nothing}
}

type gate struct {
	*Tester
	next    sessions.Gate
	nothing Opener
}

func (g *gate) own(grant sessions.Grant) bool { return grant.Identifier == g.key.Identifier }

// Open implements sessions.Gate.
func (g *gate) Open(grants []sessions.Grant) []error {
	defer g.wait()()
	if !slices.ContainsFunc(grants, g.own) {
		return g.next.Open(grants)
	}
	var own, others []error
	var pass []sessions.Grant
	for _, grant := range grants {
		if !g.own(grant) {
			pass = append(pass, grant)
			continue
		}
		err := g.nothing.Open(grant)
		if err == nil {
			g.opened(grant.Attempt.Base)
		}
		own = append(own, err)
	}
	if len(pass) > 0 {
		others = g.next.Open(pass)
	}
	return merged(grants, g.own, own, others)
}

// merged combines the errors of entries of two kinds, in their order; nil: none failed.
func merged[T any](all []T, is func(T) bool, own, others []error) []error {
	if !slices.ContainsFunc(own, failed) && !slices.ContainsFunc(others, failed) {
		return nil
	}
	errs := make([]error, len(all))
	for i, v := range all {
		from := &others
		if is(v) {
			from = &own
		}
		if len(*from) > 0 {
			errs[i], *from = (*from)[0], (*from)[1:]
		}
	}
	return errs
}

func failed(err error) bool { return err != nil }
