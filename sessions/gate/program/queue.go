package program

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/sessions/state"
	"sallyport/verify/wire"
)

// The bounds of commands. A client with a valid secret can make leases as fast as it
// can send, from any source address: each displaces an older lease of the client, so
// that each may need an opening and a closing command.
const (
	// maxRuns is the number of commands that run at a time: each is a process, and
	// a host starts some hundred short ones a second for each core.
	maxRuns = 32
	// serviceRuns is the number of them for one service. Commands of one service
	// change the same thing, such as a table, and wait for each other there.
	serviceRuns = 4
	// clientOpens and clientCloses are the numbers of them for one client and
	// service, so that others have a part of the service's runs. There are more for
	// closing: an open service must not wait for others that open.
	clientOpens, clientCloses = 2, 3
	// serviceRetries is the number of them for closing commands that have failed
	// before: commands that always hang must not take all runs.
	serviceRetries = 1
	// clientUnfinished is the number of leases of a client and service that may be
	// between pending and open, or between their end and the success of the closing
	// command. At this limit, no lease of the client begins. Closing commands do not
	// count against it when they are accepted, so none is lost.
	clientUnfinished = 32
	// maxUnfinished is the same for all clients and services.
	maxUnfinished = 1024
	// firstRetry is the pause before a closing command that has failed is tried
	// again; it doubles with each failure up to lastRetry.
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
)

var (
	errClientBusy = fmt.Errorf("%d leases of the client wait for commands, which is the limit", clientUnfinished)
	errBusy       = fmt.Errorf("%d leases wait for commands, which is the limit", maxUnfinished)
	errFull       = fmt.Errorf("%d closing commands must still run, which is the limit", state.MaxClosing)
	errStopped    = errors.New("the server stops")
)

// step is how far the commands of a lease are.
type step uint8

// The steps. A lease without an opening command goes from toOpen to open, one without
// a closing command begins at toOpen.
const (
	toRecord step = iota // its closing command must be on disk before anything begins
	toOpen               // its opening command must run
	opening              // it runs
	open                 // it has succeeded
	toClose              // the lease has ended, or could not open: its closing command must run
	closing              // it runs
	finished
)

// job is the commands of one lease.
type job struct {
	service *ServiceCommands
	lease   state.Closing
	done    func(error) // of gate.LeaseCommands; nil: the lease is not of this process
	step    step
	resumed bool   // gate.CommandLease.Resumed
	over    bool   // the lease has ended
	reason  string // for the closing command

	attempts int           // of the closing command that have failed
	err      error         // of the last
	due      time.Time     // of the next
	stop     chan struct{} // closed to end the command that runs
}

// origin is what jobs are kept in order for: the address of a client at a service.
// Leases that differ only in a port or in a sequence number share it: their commands
// concern the same address.
type origin struct {
	service string
	client  wire.Identifier
	address access.Peer
}

func (j *job) origin() origin {
	return origin{j.lease.Service, j.lease.Client, access.Peer{Prefix: j.lease.Peer.Prefix, Zone: j.lease.Peer.Zone}}
}

// busy is whose unfinished jobs are counted.
type busy struct {
	service string
	client  wire.Identifier
}

func (j *job) busy() busy { return busy{j.lease.Service, j.lease.Client} }

// unfinished reports whether a job counts against the limits.
func (s step) unfinished() bool { return s != open && s != finished }

// runs reports whether a command of the job runs.
func (s step) runs() bool { return s == opening || s == closing }

// queue decides which command runs next. Its methods are pure functions of the calls
// so far, and of now. It is not safe for concurrent use.
type queue struct {
	jobs     []*job // in the order of their beginning, without finished ones
	byOrigin map[origin][]*job
	of       map[busy]int // unfinished jobs
	waiting  int          // all of them
	closers  int          // jobs with a closing command
	running  []*job
}

func newQueue() queue { return queue{byOrigin: map[origin][]*job{}, of: map[busy]int{}} }

// room returns an error if a job must not be added.
func (q *queue) room(j *job) error {
	switch {
	case q.of[j.busy()] >= clientUnfinished:
		return errClientBusy
	case q.waiting >= maxUnfinished:
		return errBusy
	case j.service.Close && q.closers >= state.MaxClosing:
		return errFull
	}
	return nil
}

// add adds a job at its step.
func (q *queue) add(j *job) {
	q.jobs = append(q.jobs, j)
	q.byOrigin[j.origin()] = append(q.byOrigin[j.origin()], j)
	q.count(j, 1)
	if j.service.Close {
		q.closers++
	}
}

func (q *queue) count(j *job, n int) {
	if !j.step.unfinished() {
		return
	}
	q.waiting += n
	if q.of[j.busy()] += n; q.of[j.busy()] == 0 {
		delete(q.of, j.busy())
	}
}

// move changes the step of a job. A finished one is removed.
func (q *queue) move(j *job, to step) {
	q.count(j, -1)
	if j.step.runs() {
		q.running = without(q.running, j)
	}
	j.step = to
	q.count(j, 1)
	if to.runs() {
		j.stop = make(chan struct{})
		q.running = append(q.running, j)
	}
	if to != finished {
		return
	}
	q.jobs = without(q.jobs, j)
	if left := without(q.byOrigin[j.origin()], j); len(left) > 0 {
		q.byOrigin[j.origin()] = left
	} else {
		delete(q.byOrigin, j.origin())
	}
	if j.service.Close {
		q.closers--
	}
}

func without(all []*job, j *job) []*job {
	return slices.DeleteFunc(all, func(other *job) bool { return other == j })
}

// end ends the lease of a job.
func (q *queue) end(j *job, reason string, now time.Time) {
	if j.over || j.step == finished {
		return
	}
	j.over, j.reason = true, reason
	switch j.step {
	case toRecord, toOpen: // nothing has begun
		q.move(j, finished)
	case open:
		q.close(j, now)
	}
}

// close makes the closing command of a job run, if it has one.
func (q *queue) close(j *job, now time.Time) {
	if !j.service.Close {
		q.move(j, finished)
		return
	}
	j.due = now
	q.move(j, toClose)
}

// opened moves a job whose opening command has ended.
func (q *queue) opened(j *job, err error, now time.Time) {
	switch {
	case j.over:
		q.close(j, now)
	case err != nil:
		j.over, j.reason = true, reasonOpenFailed
		q.close(j, now)
	case j.service.Close:
		q.move(j, open)
	default:
		q.move(j, finished) // nothing more will run for it
	}
}

// closed moves a job whose closing command has ended.
func (q *queue) closed(j *job, err error, now time.Time) {
	if err == nil {
		q.move(j, finished)
		return
	}
	pause := lastRetry
	if j.attempts < 9 {
		pause = min(firstRetry<<j.attempts, lastRetry)
	}
	j.attempts++
	j.err, j.due = err, now.Add(pause)
	q.move(j, toClose)
}
