package access

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// ServiceID names a service to every process that has read the same
// configuration. It is derived from the service's name alone.
type ServiceID [8]byte

// ID returns the identifier of a service: the first 64 bits of the SHA-256 of
// its name. Two names of one configuration with the same one are found by
// Distinct, before anything is open.
func ID(name string) ServiceID {
	sum := sha256.Sum256([]byte(name))
	return ServiceID(sum[:])
}

// String returns the identifier in hexadecimal.
func (id ServiceID) String() string { return hex.EncodeToString(id[:]) }

// Distinct returns an error if two services share an identifier.
func Distinct(ids []ServiceID) error {
	seen := make(map[ServiceID]int, len(ids))
	for i, id := range ids {
		if before, ok := seen[id]; ok {
			return fmt.Errorf("services %d and %d share the identifier %s: rename one of them", before, i, id)
		}
		seen[id] = i
	}
	return nil
}

// Change says what is to be, whatever was before: who is let in to a service,
// and until when.
type Change struct {
	Service ServiceID
	Peer    Peer
	// Until is a time of clock.Boot. Zero revokes: the peer is let in no more.
	Until time.Time
	// LeaseOwners are the clients by whose leases the peer is let in, as far as they
	// are known; nil: nobody is.
	LeaseOwners *LeaseOwners
	// Cut says that connections of the peer end too: if the change revokes, unless
	// another peer lets them in. If it does not, a client has lost the right to the
	// service that it had for this peer, now or before, and others have it still:
	// only an enforcer that does not know whose its connections are ends them, all.
	Cut bool
	// Revoked is for a Cut that is not by the service's terms, but for a client that
	// has lost its right. An enforcer that knows whose its connections are leaves
	// them to those who end what is the client's.
	Revoked bool
	// Since bounds a Cut to connections that began then or later, in clock.Boot;
	// zero: all. Only what was let in for a moment is taken back so.
	Since time.Time
	// Soon is for a Change that revokes without a Cut: the peer may be let in for
	// SoonTime more. Its client has given it up for another one, and is a client
	// still.
	Soon bool
}

// SoonTime is what Soon allows. To shorten a timeout costs the kernel a small
// part of what it takes to remove an element, where it renews timeouts.
const SoonTime = 20 * time.Millisecond

// Revokes reports whether the change lets the peer in no more.
func (c Change) Revokes() bool { return c.Until.IsZero() }

// Enforcer makes changes real. One goroutine calls it at a time, unless it
// says otherwise.
type Enforcer interface {
	// Apply carries out changes in one transaction, which it splits only if
	// that fails: no change fails because of another. A peer of a service may
	// occur once. Apply returns nil when all is well, and otherwise the error
	// of each change, in the place of the change. A peer whose change fails is
	// let in as it was before. A revocation cannot fail in part: an enforcer that cannot carry
	// one out lets nobody in any more. Apply does not retain the slice.
	Apply([]Change) []error
	// Close lets nobody in any more, for good, and ends all connections that
	// are the enforcer's own. It may be called again.
	Close() error
}

// ErrClosed is the error of a change after Close.
var ErrClosed = errors.New("the gate is shut")

// Failed returns what Apply returns if nothing can be opened, for one reason,
// and what is revoked is closed in any case.
func Failed(changes []Change, err error) (errs []error) {
	for i, c := range changes {
		if c.Revokes() {
			continue
		}
		if errs == nil {
			errs = make([]error, len(changes))
		}
		errs[i] = err
	}
	return errs
}
