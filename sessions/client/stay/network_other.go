//go:build !linux

package stay

import (
	"context"
	"net/netip"
)

// watchNetwork is a watchFunc.
func watchNetwork(ctx context.Context, addresses <-chan []netip.Addr, changes chan<- struct{}) {
	pollNetwork(ctx, addresses, changes)
}
