package client

import (
	"context"
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
