package gate

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// ErrIdle is what a Backend reports while no lease needs its program. It keeps the
// service closed like every other error, and is no fault: Waiting does not list it.
var ErrIdle = errors.New("the program does not run, because no lease needs it")

// Backend is the program behind a service. It runs while the service needs it, and
// the service is open only while the program is ready. Package program has one.
type Backend interface {
	// Watch sets the function that the Backend calls when its program has become
	// ready (nil), or is no longer ready, and why. NewService calls Watch once,
	// before everything else; until the first call, the program is not ready, with
	// ErrIdle. The Backend calls it one call at a time, with no lock held that Need
	// takes. When it returns, the service is open or closed accordingly.
	Watch(changed func(error))
	// Need reports whether the service needs the program from now on. It returns at
	// once: it is called under the service's lock, also with what it was called with
	// before.
	Need(bool)
	// Run starts and stops the program until ctx ends, and returns when the program
	// has ended. Service.Run calls it; ctx ends after the service has closed.
	Run(ctx context.Context)
}

// LeaseCommands runs the operator's commands for the leases of a service. Its
// methods are called under the service's lock, so they return at once. Package
// program has one.
type LeaseCommands interface {
	// Watch sets the function to call when commands can no longer run, with why.
	// NewService calls Watch once. The function is called with no lock held that the
	// other methods take.
	Watch(changed func(error))
	// Begin is called when a lease begins. If it returns an error, nothing has begun,
	// and the lease is not granted. Otherwise it calls done once, on another
	// goroutine: with nil if the lease may take effect, or with why it must not; then
	// the lease ends without a call of End. It need not call done after End.
	Begin(l CommandLease, done func(error)) (CommandedLease, error)
}

// CommandedLease is a lease whose commands have begun.
type CommandedLease interface {
	// End is called once when the lease ends, unless done was called with an error.
	// The closing command runs if the opening command has begun.
	End(EndReason)
}

// CommandLease describes a lease to its commands.
type CommandLease struct {
	Client    wire.Identifier // zero: of an operation that belongs to no client
	Operation string          // the operation that has granted it; empty: knocks did
	Resumed   bool            // it was in force before a restart
	Address   netip.Addr      // that has knocked
	Peer      access.Peer     // that the lease admits
	Port      uint16          // the random or drawn port that it opens; 0: the service's own
	Until     time.Time       // when it ends, by the wall clock; zero: when it is closed
}

// defers reports whether leases of the service may take effect after their grants.
func (s *Service) defers() bool { return s.backend != nil || s.commands != nil }
