package forward

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

const (
	// sharedTime is how long a connection waits for the knock of another route.
	sharedTime = time.Second

	// The pace of knocks. A server's default is 20 at once, and five in a second.
	burst      = 3
	knockPause = 3 * time.Second
	// If each connection requires a knock:
	eachBurst = 8
	eachPause = time.Second
)

// opener knocks for all connections and flows.
type opener struct {
	knocks  func(context.Context, Request) (Opened, error)
	openFor time.Duration

	mu      sync.Mutex
	lease   lease
	pace    pace
	running map[*route]*attempt
}

// route is a Route, and what is known of its service.
type route struct {
	Route
	port uint16 // of the service, if that is at the server; otherwise 0

	reported reported

	// Under the opener's lock:
	at        netip.AddrPort // of the service, at the last knock of this route
	failed    int            // the number of the lease that has let no connection in
	quiet     time.Time      // traffic of flows causes no knock before
	handshake time.Duration  // of the last plain connection; 0: unknown
	unserved  unserved       // no program listens there
	single    bool           // the last knock has opened one connection only: a tunnel
}

// attempt is a knock that runs.
type attempt struct {
	done chan struct{}
	err  error // after done
}

// opening is a service that should be open.
type opening struct {
	at   netip.AddrPort
	n    int  // of the lease
	conn Conn // nil: connect to at
}

// ready returns the service while the lease is fresh, unless a connection has failed.
func (o *opener) ready(r *route) (opening, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	open := o.opening(r)
	return open, o.lease.fresh(time.Now(), o.openFor) && r.failed != o.lease.n && open.at.IsValid() && !r.Each
}

// opening returns the address of a service. A route without a knock uses the address of
// the server at which the knock for another route has opened something.
func (o *opener) opening(r *route) opening {
	at := r.at
	if !at.IsValid() && r.port != 0 && o.lease.server.IsValid() {
		at = netip.AddrPortFrom(o.lease.server, r.port)
	}
	return opening{at: at, n: o.lease.n}
}

// fail records that a lease lets no connection to a service in.
func (o *opener) fail(r *route, n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	r.failed = n
}

// renewable reports whether the traffic of a flow must renew the lease. A knock for a
// service whose port rotates would open another port.
func (o *opener) renewable(r *route) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	return !r.Rotates && len(o.running) == 0 && !now.Before(r.quiet) && o.lease.halfOver(now, o.openFor)
}

// knock opens a service, as q requires: its Service is that of the route. If a knock for
// it runs already, knock waits for that one; then
// own is false, and there is no connection.
func (o *opener) knock(ctx context.Context, r *route, q Request) (open opening, own bool, err error) {
	if open, ok := o.waitForOther(ctx, r); ok {
		return open, false, nil
	}
	o.mu.Lock()
	if same := o.running[r]; same != nil {
		o.mu.Unlock()
		if err := same.wait(ctx); err != nil {
			return opening{}, false, err
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.opening(r), false, nil
	}
	a := &attempt{done: make(chan struct{})}
	o.running[r] = a
	n, each := burst, knockPause
	if r.Each || r.single {
		n, each = eachBurst, eachPause
	}
	wait := o.pace.take(time.Now(), n, each)
	o.mu.Unlock()
	open, err = o.run(ctx, r, a, wait, q)
	return open, true, err
}

// waitForOther waits for a knock of another route, for sharedTime. Ok: it has opened
// something, and probably this service too.
func (o *opener) waitForOther(ctx context.Context, r *route) (open opening, ok bool) {
	o.mu.Lock()
	var other *attempt
	for of, a := range o.running {
		if of != r {
			other = a
		}
	}
	alone := o.running[r] == nil && !r.Each
	o.mu.Unlock()
	if other == nil || !alone {
		return opening{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, sharedTime)
	defer cancel()
	if other.wait(ctx) != nil {
		return opening{}, false
	}
	return o.ready(r)
}

// run knocks after a wait.
func (o *opener) run(ctx context.Context, r *route, a *attempt, wait time.Duration, q Request) (opening, error) {
	defer close(a.done) // after the lock is free
	a.err = sleep(ctx, wait)
	begin := time.Now()
	var opened Opened
	if a.err == nil {
		q.Service = r.Service
		opened, a.err = o.knocks(ctx, q)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.running, r)
	if a.err != nil {
		r.quiet = time.Now().Add(renewPause)
		a.err = o.learn(r, begin, q.Refused, a.err)
		return opening{}, a.err
	}
	o.lease = lease{n: o.lease.n + 1, begin: begin, server: opened.Server}
	r.at, r.quiet, r.unserved = opened.Service, time.Time{}, unserved{}
	r.single = opened.Conn != nil && !opened.Service.IsValid()
	open := o.opening(r)
	open.conn = opened.Conn
	return open, nil
}

// wait returns the error of the knock, or that of ctx.
func (a *attempt) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-a.done:
		return a.err
	}
}
