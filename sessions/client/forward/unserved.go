package forward

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"sallyport/sessions/client"
	"sallyport/sessions/syserror"
)

// unserved is what a knock has shown of a service that has no program: it refuses
// connections, and further knocks change nothing. While the lease lasts, only plain
// connections look whether a program listens there now.
type unserved struct {
	err   error // of the knock
	until time.Time
}

// withoutProgram returns the error of a service that has no program; nil: that is not known.
func (o *opener) withoutProgram(r *route) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if time.Now().Before(r.unserved.until) {
		return r.unserved.err
	}
	return nil
}

// learn takes what the error of a knock shows, and returns the error to report. The
// caller holds the lock.
func (o *opener) learn(r *route, begin time.Time, refused bool, err error) error {
	var offline *client.OfflineError
	if r.Each || !errors.As(err, &offline) {
		return err
	}
	switch {
	case offline.Reason == client.ReasonNotListening:
		// The service dropped connections before the knock, and refuses them now: the
		// server lets this computer in.
		o.lease = lease{n: o.lease.n + 1, begin: begin, server: o.lease.server}
		if r.port != 0 {
			o.lease.server = offline.Service.Addr()
		}
		r.at, r.unserved = offline.Service, unserved{err, o.lease.end(o.openFor)}
	case refused && syserror.Refused.In(err):
		err = stillRefused(offline, begin.Sub(o.lease.begin))
		r.failed, r.unserved = 0, unserved{err, time.Now().Add(renewPause)}
	}
	return err
}

// stillRefused explains the error of a knock for a service that refused connections
// before it, too, while the lease of an earlier knock should be in force.
func stillRefused(e *client.OfflineError, since time.Duration) error {
	own := *e
	port := e.Service.Port()
	own.Certain = []string{
		fmt.Sprintf("%s refuses connections, before the knock and after it", e.Service),
		fmt.Sprintf("a knock %s before this one opened a service", since.Round(time.Second)),
	}
	own.Likely = []string{
		fmt.Sprintf("no program listens on port %d of the server", port),
		fmt.Sprintf("the server does not open port %d for this client", port),
	}
	own.Reason, own.Advice = client.ReasonRefused, nil
	own.Hints = slices.Concat(own.Certain, own.Likely)
	return &own
}
