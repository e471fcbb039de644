package program

import (
	"fmt"
	"strconv"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/sessions/state"
	"sallyport/verify/wire"
)

// The events of SALLYPORT_EVENT.
const (
	eventOpen  = "open"
	eventClose = "close"
)

// The reasons of SALLYPORT_REASON, beside those of gate.EndReason.
const (
	reasonKnock      = "knock"
	reasonOperation  = "operation"
	reasonResumed    = "resumed"
	reasonOpenFailed = "open-failed"
	reasonCrash      = "crash"
)

// Environment returns the variables of one run of a command, for the administrator's
// program. Each is always there, so that a program need not inherit any.
func Environment(event, reason string, l state.Closing) []string {
	client, until, port := "", "closed", ""
	if l.Client != (wire.Identifier{}) {
		client = l.Client.String()
	}
	if !l.Until.IsZero() {
		until = l.Until.UTC().Format(time.RFC3339)
	}
	address, prefix := "", "any" // of a lease for any address
	if l.Peer != access.AnyAddress {
		address, prefix = l.Address.String(), l.Peer.Prefix.String()
	}
	if l.Port != 0 {
		port = strconv.Itoa(int(l.Port))
	}
	return []string{
		"SALLYPORT_EVENT=" + event,
		"SALLYPORT_REASON=" + reason,
		"SALLYPORT_SERVICE=" + l.Service,
		"SALLYPORT_CLIENT=" + client,
		"SALLYPORT_OPERATION=" + l.Operation,
		"SALLYPORT_ADDRESS=" + address,
		"SALLYPORT_PREFIX=" + prefix,
		"SALLYPORT_UNTIL=" + until,
		"SALLYPORT_PORT=" + port,
		fmt.Sprintf("SALLYPORT_LEASE=%016x", l.ID),
	}
}
