package forward

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"time"

	"sallyport/sessions/client"
)

// Event is an Opening or a Failed.
type Event interface{ isEvent() }

// Opening: a knock has opened a service, or was sent for a service that cannot be
// watched. Renewals of a lease are not reported.
type Opening struct {
	Route   Route
	Service netip.AddrPort
}

// Failed: connections or datagrams of a route were refused. Errors of the same cause are
// reported once, until the route works again.
type Failed struct {
	Route Route
	Err   error
}

func (Opening) isEvent() {}
func (Failed) isEvent()  {}

// reportAgain is the time after which the same failure is reported again.
const reportAgain = 10 * time.Minute

// reported has the last failures of a route that were reported, under the lock of
// reports. Two that alternate are reported once each.
type reported struct {
	list [4]report
	next int
}

type report struct {
	cause string
	at    time.Time
}

// isNew records a failure, and reports whether it is new.
func (r *reported) isNew(cause string, now time.Time) bool {
	for i, old := range r.list {
		if old.cause == cause && now.Sub(old.at) < reportAgain {
			return false
		}
		if old.cause == cause {
			r.list[i].at = now
			return true
		}
	}
	r.list[r.next] = report{cause, now}
	r.next = (r.next + 1) % len(r.list)
	return true
}

// cause returns the text by which two failures are the same: errors of one reason differ
// in the number of attempts.
func cause(err error) string {
	return cmp.Or(string(client.ReasonOf(err)), err.Error())
}

// failed reports a failure, if it is new.
func (s *server) failed(ctx context.Context, r *route, err error) {
	if ctx.Err() != nil {
		return
	}
	var isn *client.ISNError
	if errors.As(err, &isn) {
		s.fatal(err)
		return
	}
	s.reports.Lock()
	defer s.reports.Unlock()
	if r.reported.isNew(cause(err), time.Now()) {
		s.cfg.Report(Failed{r.Route, err})
	}
}

// opened reports that a knock has opened a service.
func (s *server) opened(r *route, o opening) {
	s.reports.Lock()
	defer s.reports.Unlock()
	r.reported = reported{}
	s.cfg.Report(Opening{r.Route, o.at})
}

// knock opens a service, as q requires, and reports the result.
func (s *server) knock(ctx context.Context, r *route, q Request) (opening, error) {
	o, own, err := s.opener.knock(ctx, r, q)
	switch {
	case err != nil:
		s.failed(ctx, r, err)
	case own:
		s.opened(r, o)
	}
	return o, err
}
