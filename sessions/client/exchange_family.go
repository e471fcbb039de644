package client

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// otherFamily executes the operation for the other address family too, if it works, so
// that any program gets in over both. It returns the service there, if it has seen it. A
// connection that is kept, or a port for one connection, needs one family only.
func (x *exchanging) otherFamily(ctx context.Context, r Result, took time.Duration) []netip.AddrPort {
	if x.cfg.Keep || r.SingleUse {
		return nil
	}
	y := *x
	y.targets = slices.DeleteFunc(slices.Clone(x.targets), func(t target) bool {
		return familyOf(t.knock) == familyOf(r.Address)
	})
	if len(y.targets) == 0 {
		return nil
	}
	y.lookup, y.found, y.cfg.CheckBefore = nil, exchangeFindings{}, false
	ctx, cancel := context.WithTimeout(ctx, familyTime(took))
	defer cancel()
	other, err := y.attempt(ctx, r.Attempts)
	if err != nil || !other.Watched {
		return nil
	}
	return []netip.AddrPort{other.Service}
}

// reachable returns the targets whose family the encodings fit: the server does not
// listen in the other one.
func (c Challenge) reachable(targets []target) ([]target, error) {
	var last error
	fit := slices.DeleteFunc(slices.Clone(targets), func(t target) bool {
		_, _, err := c.codecs(t.knock.Is6())
		if err != nil {
			last = fmt.Errorf("%s: %w", t.knock, err)
		}
		return err != nil
	})
	if len(fit) == 0 {
		return nil, &FamilyError{last}
	}
	return fit, nil
}

// FamilyError is the error of a server that has addresses only of a family over which
// the messages do not fit the encodings: it does not listen there. Nothing was sent.
type FamilyError struct{ err error }

func (e *FamilyError) Error() string {
	return fmt.Sprintf("the messages do not fit the ports of the profile over this address family: %v", e.err)
}

func (e *FamilyError) Unwrap() error { return e.err }

// Hint returns what to do.
func (e *FamilyError) Hint() string {
	return "requests over IPv6 are longer, and the server of this profile uses IPv4 only: omit -6, and use a name or an IPv4 address of the server"
}
