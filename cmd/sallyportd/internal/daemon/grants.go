package daemon

import (
	"time"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/sessions"
	"sallyport/sessions/gate"
)

// announcing is a gate whose grants can be watched.
type announcing struct {
	*gate.Services
	feed *admin.Feed
	now  func() time.Time
}

// Open implements sessions.Gate.
func (a announcing) Open(g sessions.Grant) error {
	if err := a.Services.Open(g); err != nil {
		return err
	}
	if a.feed.Watched() {
		a.announce(g, "", a.Services.Names(g.Identifier))
	}
	return nil
}

func (a announcing) announce(g sessions.Grant, operation string, services []string) {
	a.feed.Publish(admin.Grant{Time: a.now(), Client: g.Identifier.String(), Address: g.Address, Services: services, Operation: operation})
}
