package program

import "time"

// next returns a job of which a command must run now; nil: there is none. Closing
// commands come first, also those that are tried again, then opening commands in their
// order. Draining: only closing commands that have not failed yet.
func (q *queue) next(now time.Time, draining bool) *job {
	if len(q.running) >= maxRuns {
		return nil
	}
	for _, retries := range []bool{false, true} {
		for _, j := range q.jobs {
			if j.step == toClose && j.attempts > 0 == retries && !(draining && retries) && !now.Before(j.due) && q.mayClose(j) {
				return j
			}
		}
	}
	if draining {
		return nil
	}
	for _, j := range q.jobs {
		if j.step == toOpen && q.mayOpen(j) {
			return j
		}
	}
	return nil
}

// mayClose reports whether the closing command of a job may run beside those that
// run.
func (q *queue) mayClose(j *job) bool {
	service, client, retries := 0, 0, 0
	for _, r := range q.running {
		if r.lease.Service != j.lease.Service {
			continue
		}
		if service++; r.step == closing && r.lease.Client == j.lease.Client {
			client++
		}
		if r.step == closing && r.attempts > 0 {
			retries++
		}
		if r.origin() == j.origin() {
			return false
		}
	}
	return service < serviceRuns && client < clientCloses && (j.attempts == 0 || retries < serviceRetries)
}

// mayOpen reports whether the opening command of a job may run beside those that run,
// or the job may open without one. All earlier leases of the same origin must be open, or
// their closing commands must have succeeded: a late closing command would undo what
// the opening one does.
func (q *queue) mayOpen(j *job) bool {
	for _, earlier := range q.byOrigin[j.origin()] {
		if earlier == j {
			break
		}
		if earlier.step != open {
			return false
		}
	}
	service, client := 0, 0
	for _, r := range q.running {
		if r.lease.Service != j.lease.Service || !j.service.Open {
			continue
		}
		if service++; r.step == opening && r.lease.Client == j.lease.Client {
			client++
		}
		if r.origin() == j.origin() {
			return false
		}
	}
	return service < serviceRuns && client < clientOpens
}

// nextDue returns when the first closing command is tried again; zero: none is.
func (q *queue) nextDue(now time.Time) (at time.Time) {
	for _, j := range q.jobs {
		if j.step == toClose && j.due.After(now) && (at.IsZero() || j.due.Before(at)) {
			at = j.due
		}
	}
	return at
}
