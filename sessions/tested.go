package sessions

import "sallyport/verify/wire"

// tested is the client with which the server tests itself; the zero value is none.
type tested struct {
	client  wire.Identifier
	outcome func(Outcome)
}

// is reports whether a client is the test's, and passes the outcome of its knock on.
func (t *tested) is(id wire.Identifier, o Outcome) bool {
	if t.outcome == nil || id != t.client {
		return false
	}
	t.outcome(o)
	return true
}

// has reports whether a client is the test's.
func (t *tested) has(id wire.Identifier) bool { return t.outcome != nil && id == t.client }
