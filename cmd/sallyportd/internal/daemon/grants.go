package daemon

import (
	"slices"
	"sync/atomic"
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
	// knocked is set once a knock or an exchange has opened something.
	knocked *atomic.Bool
	// share, if set, is called with grants that were executed.
	share func([]sessions.Grant)
}

// Open implements sessions.Gate.
func (a announcing) Open(grants []sessions.Grant) []error {
	if a.admit != nil {
		if err := a.admit(grants); err != nil {
			return slices.Repeat([]error{err}, len(grants))
		}
	}
	errs := a.Services.Open(grants)
	a.note(errs, len(grants))
	if a.share != nil {
		a.share(succeeded(grants, errs))
	}
	a.announceAll(grants, errs, func(access.ServiceID) bool { return true })
	return errs
}

// announceAll announces grants without an error, for the services that opens names.
func (a announcing) announceAll(grants []sessions.Grant, errs []error, opens func(access.ServiceID) bool) {
	if !a.feed.Watched() {
		return
	}
	for i, g := range grants {
		if errs != nil && errs[i] != nil {
			continue
		}
		names := slices.DeleteFunc(a.Services.Names(g.Identifier), func(service string) bool {
			id := access.ID(service)
			return a.defers(service) || !a.Services.Covers(id, g) || !opens(id)
		})
		if len(names) > 0 { // it may be revoked by now
			a.announce(g, "", names)
		}
	}
}

// note notes whether something was opened, by the errors of n grants; nil: none failed.
func (a announcing) note(errs []error, n int) {
	if !a.knocked.Load() && (errs == nil && n > 0 || slices.Contains(errs, nil)) {
		a.knocked.Store(true)
	}
}

// succeeded returns the grants without an error.
func succeeded(grants []sessions.Grant, errs []error) []sessions.Grant {
	if errs == nil {
		return grants
	}
	var list []sessions.Grant
	for i, g := range grants {
		if errs[i] == nil {
			list = append(list, g)
		}
	}
	return list
}

// defers reports whether a service announces its leases itself, because they take
// effect later than their grants: see Server.opened.
func (a announcing) defers(service string) bool { return a.Services.Defers(access.ID(service)) }

func (a announcing) announce(g sessions.Grant, operation string, services []string) {
	a.feed.Publish(admin.Grant{Time: a.now(), Client: g.Identifier.String(), Address: g.Address, Services: services, Operation: operation})
}
