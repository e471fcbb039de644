package client

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"sallyport/verify/challenge"
	"sallyport/verify/challenge/carrier"
)

// carriedFamily is how long an exchange by HTTP for the other family may take.
const carriedFamily = time.Second

// otherFamily executes the operation for the other address family too, if it works, so
// that any program gets in over both. It returns the service there, if it has seen it. A
// connection that is kept, or a port for one connection, needs one family only.
func (x *exchanging) otherFamily(ctx context.Context, r Result, took time.Duration) []netip.AddrPort {
	if x.cfg.Keep || r.SingleUse || x.by != CarrierPackets && x.kind(r.Address) == carrier.RequestConnection {
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
	more := familyTime(took)
	if x.by != CarrierPackets {
		more = min(max(familyFactor*took, minFamily), carriedFamily)
	}
	ctx, cancel := context.WithTimeout(ctx, more)
	defer cancel()
	other, err := y.attempt(ctx, r.Attempts)
	if err != nil || !other.Watched {
		return nil
	}
	return []netip.AddrPort{other.Service}
}

// codecs returns the codecs of the messages to a target; nil for carriers other than
// packets.
func (x *exchanging) codecs(t target) (requests, responses *challenge.Codec, err error) {
	if x.by != CarrierPackets {
		return nil, nil, nil
	}
	return x.cfg.Challenge.codecs(t.knock.Is6())
}

// reachable returns the targets whose family the encodings fit: the server does not
// listen in the other one.
func (x *exchanging) reachable(targets []target) ([]target, error) {
	var last error
	fit := slices.DeleteFunc(slices.Clone(targets), func(t target) bool {
		_, _, err := x.codecs(t)
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
