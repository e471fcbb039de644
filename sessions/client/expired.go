package client

import (
	"fmt"
	"time"
)

// expired returns the error of a profile whose time is over at now; nil: it is not. The
// server would drop each knock, as if there were no such client, so none is sent.
func (p Profile) expired(now time.Time) error {
	if p.Expires.IsZero() || now.Before(p.Expires) {
		return nil
	}
	d := diagnosis{reason: ReasonExpired}
	d.see("the profile expired at %s; this computer's clock shows %s", p.Expires.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	d.conclude("the server refuses this client since then; or this computer's clock is wrong")
	d.todo = append(d.todo, fmt.Sprintf("ask the administrator of %s for a new profile; if the time was only extended there, you may instead remove the line \"expires\" from the profile", p.Server))
	return offlineError(OfflineError{Server: p.Server, expires: p.Expires}, d)
}
