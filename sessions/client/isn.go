package client

import (
	"errors"
	"fmt"

	"sallyport/sessions/syserror"
	"sallyport/verify/preamble"
)

// Bind is the property, in addition to the client's address, to which a server binds a
// connection.
type Bind string

// The values of Bind.
const (
	BindAddress Bind = "" // no other property
	// BindISN is the initial sequence number that both ends derive from the attempt
	// or the exchange. The client requires Linux and CAP_NET_ADMIN, and only
	// the connection that it returns itself (Keep) gets in.
	BindISN Bind = "isn"
	// BindConnection is the proof of package preamble, with which each connection begins.
	// It requires the name of the service, and the client's secret.
	BindConnection Bind = "connection"
)

// Valid reports whether b is a value of Bind.
func (b Bind) Valid() bool { return b == BindAddress || b == BindISN || b == BindConnection }

// check returns an error if the client cannot connect to a bound service. The name is
// that of the service at the server.
func (b Bind) check(service, name string) error {
	switch s, err := ParseService(service); {
	case !b.Valid():
		return fmt.Errorf("expected bind = \"isn\" or \"connection\", got %q", b)
	case b != BindAddress && service == "":
		return fmt.Errorf("bind = %q requires a service", b)
	case b != BindAddress && err == nil && s.UDP:
		return fmt.Errorf("bind = %q requires a TCP service, got %q", b, service)
	case b == BindConnection && preamble.CheckService(name) != nil:
		return fmt.Errorf("bind = %q requires the name of the service, got %d bytes", b, len(name))
	}
	return nil
}

// ISNError is the error of a service that is bound to initial sequence numbers, if
// the client cannot connect to it. The client has sent nothing.
type ISNError struct {
	err  error
	hint string
}

func (e *ISNError) Error() string { return e.err.Error() }

func (e *ISNError) Unwrap() error { return e.err }

// Hint returns what to do.
func (e *ISNError) Hint() string { return e.hint }

var errOthersConnect = errors.New("the profile has bind = \"isn\": " +
	"the server accepts only a connection whose sequence number this program has set, and no connection of another program")

// checkBind returns an error if the client cannot use a profile with bind: it must
// return the connection, unless it does not watch the service of the profile.
func checkBind(b Bind, keep, watches bool) error {
	switch {
	case b != BindISN, !keep && !watches:
		return nil
	case !keep:
		return &ISNError{errOthersConnect, "use \"sallyport connect\", for ssh as its ProxyCommand; " +
			"to open only the client's other services: --watch none"}
	}
	err := tryISN()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errors.ErrUnsupported):
		return &ISNError{errors.New("the profile has bind = \"isn\", and only on Linux can this program set the sequence number of a connection"),
			"connect from a Linux computer, or ask the server's administrator for a service without bind"}
	case syserror.Forbidden.In(err):
		return &ISNError{errors.New("the profile has bind = \"isn\", and this program may not set the sequence number of a connection: CAP_NET_ADMIN is missing"),
			"as root, give this program the capability: setcap cap_net_admin+ep /path/to/sallyport"}
	}
	return &ISNError{err, "the kernel lacks TCP_REPAIR (CONFIG_CHECKPOINT_RESTORE), or forbids it"}
}

// isnHint is about a service that does not answer to a number.
const isnHint = "the profile has bind = \"isn\": a NAT, a VPN or a firewall on the way that rewrites TCP sequence numbers, " +
	"or ends the connection in a proxy, keeps this computer out"
