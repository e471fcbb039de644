package stay

import (
	"errors"
	"time"

	"sallyport/sessions/client"
)

// Event is what Run reports: Opened, Failed or Moving.
type Event interface{ isEvent() }

// Opened: a knock has succeeded.
type Opened struct {
	Result client.Result
	Reason Reason
	// For is how long the service stays open from now on without a further knock; 0:
	// open_for is not known.
	For time.Duration
	// Restored: the knocks before have failed.
	Restored bool
}

// Failed: a knock has failed. Run goes on.
type Failed struct {
	Err    error
	Reason Reason
	// Again: the knock before has failed, too.
	Again bool
	// Closed: the lease of the last success has ended, or there was none.
	Closed bool
	// Retry is the pause before the next knock.
	Retry time.Duration
}

// Moving: the network has changed, or the host has resumed. A knock follows as soon as
// there are no further changes.
type Moving struct{ Reason Reason }

func (Opened) isEvent() {}
func (Failed) isEvent() {}
func (Moving) isEvent() {}

// SingleUseError is the error of an operation that opens a random port: it is for one
// connection, so it cannot be kept open.
type SingleUseError struct{}

func (*SingleUseError) Error() string {
	return "the operation opens a port for one connection, which cannot be kept open"
}

// Hint returns what to do.
func (*SingleUseError) Hint() string {
	return "use \"connect\" or \"forward\", which knock for each connection; or ask the server's administrator for an operation without random_port"
}

// lasting reports whether a knock would fail again with the same error, whatever changes
// outside of this computer: it is about the profile, or about the nonce file. First: no
// knock has succeeded yet.
func lasting(err error, first bool) bool {
	var exhausted *client.ExhaustedError
	var damaged *client.DamagedError
	var isn *client.ISNError
	var family *client.FamilyError
	if errors.As(err, &exhausted) || errors.As(err, &damaged) || errors.As(err, &isn) || errors.As(err, &family) {
		return true
	}
	// A disk that is full may have room again. At the start, a person is there to hear of
	// it.
	var offline *client.OfflineError
	var resolve *client.ResolveError
	return first && !errors.As(err, &offline) && !errors.As(err, &resolve)
}
