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
// its name. Distinct finds two names of one configuration with the same
// identifier, before anything is open.
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

// Change describes the access of a peer to a service, whatever it was before:
// until when the service admits the peer.
type Change struct {
	Service ServiceID
	Peer    Peer
	// Until is a time of clock.Boot. Zero revokes: the peer is no longer
	// admitted.
	Until time.Time
	// LeaseOwners are the clients whose leases admit the peer, as far as they
	// are known; nil: none is known.
	LeaseOwners *LeaseOwners
	// Cut also ends connections of the peer: if the change revokes, unless
	// another peer admits them. If it does not revoke, a client has lost the
	// right to the service that it had for this peer, now or earlier, and other
	// clients still have it: then only an enforcer that does not know the
	// owners of its connections ends all of them.
	Cut bool
	// Revoked marks a Cut that is not due to the service's policy, but to a
	// client that has lost its right. An enforcer that knows the owners of its
	// connections ignores such a Cut: a separate call ends the connections of
	// the client.
	Revoked bool
	// Since limits a Cut to connections that began then or later, by
	// clock.Boot; zero: all. It is used to undo an admission that lasted only
	// for a moment.
	Since time.Time
	// Soon is for a Change that revokes without a Cut: the peer may be admitted
	// for SoonTime more. Its client has replaced it by another peer, and is
	// still a client.
	Soon bool
}

// SoonTime is the time that Soon allows. Where the kernel can update timeouts,
// shortening one costs it a small part of the cost of removing an element.
const SoonTime = 20 * time.Millisecond

// Revokes reports whether the change revokes the access of the peer.
func (c Change) Revokes() bool { return c.Until.IsZero() }

// Enforcer makes changes real. Only one goroutine may call it at a time, unless
// the implementation documents otherwise.
type Enforcer interface {
	// Apply carries out changes in one transaction, which it splits only if
	// that fails: no change fails because of another. A peer of a service may
	// occur once. Apply returns nil if all succeed, and otherwise the error of
	// each change, at the index of the change. A peer whose change fails keeps
	// its earlier access. A revocation cannot fail in part: an enforcer that
	// cannot carry one out closes entirely. Apply does not retain the slice.
	Apply([]Change) []error
	// Close admits no peer from then on, and ends the enforcer's connections.
	// It may be called again.
	Close() error
}

// ErrClosed is the error of a change after Close.
var ErrClosed = errors.New("the gate is closed")

// Failed returns the errors of an Apply that can open nothing, for one reason,
// but carries out all revocations.
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
