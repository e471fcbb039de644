package holder

import (
	"errors"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
)

// Unguarded is a Config.Claim for a holder without a firewall: it has the shield only,
// and refuses every change of access.
func Unguarded() (Firewall, error) { return unguarded{}, nil }

type unguarded struct{}

var errUnguarded = errors.New("this holder has no firewall")

func (unguarded) Apply(changes []access.Change) []error                  { return access.Failed(changes, errUnguarded) }
func (unguarded) OpenKnockPorts([]uint16, time.Duration) error           { return errUnguarded }
func (unguarded) SetTrusted(map[access.ServiceID]firewall.Trusted) error { return errUnguarded }
func (unguarded) SetSilence(*firewall.Silence) error                     { return errUnguarded }
func (unguarded) Disconnect([]access.Change) error                       { return errUnguarded }
func (unguarded) Close() error                                           { return nil }
