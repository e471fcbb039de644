package daemon

import (
	"slices"
	"time"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/sessions"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
)

// announcing is a gate whose grants can be watched.
type announcing struct {
	*gate.Services
	feed *admin.Feed
	now  func() time.Time
	// admit, if set, is called with grants before they are executed. If it fails,
	// they are not.
	admit func([]sessions.Grant) error
}

// Open implements sessions.Gate.
func (a announcing) Open(grants []sessions.Grant) []error {
	if a.admit != nil {
		if err := a.admit(grants); err != nil {
			return slices.Repeat([]error{err}, len(grants))
		}
	}
	errs := a.Services.Open(grants)
	if !a.feed.Watched() {
		return errs
	}
	for i, g := range grants {
		if errs != nil && errs[i] != nil {
			continue
		}
		names := slices.DeleteFunc(a.Services.Names(g.Identifier), func(service string) bool {
			return a.defers(service) || !a.Services.Covers(access.ID(service), g)
		})
		if len(names) > 0 { // it may be revoked by now
			a.announce(g, "", names)
		}
	}
	return errs
}

// defers reports whether a service announces its leases itself, because they take
// effect later than their grants: see Server.opened.
func (a announcing) defers(service string) bool { return a.Services.Defers(access.ID(service)) }

func (a announcing) announce(g sessions.Grant, operation string, services []string) {
	a.feed.Publish(admin.Grant{Time: a.now(), Client: g.Identifier.String(), Address: g.Address, Services: services, Operation: operation})
}
