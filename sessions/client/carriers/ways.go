package carriers

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// wayPause is how long a way may be silent before the next one begins, too, at most. A
// slow proxy takes no longer, and one that swallows requests must leave time for the rest.
const wayPause = 2 * time.Second

// Accept reports whether a challenge is one of the server. The caller knows the keys that
// decide it: what answers in the server's place can have the form of a challenge, too.
type Accept func(challenge []byte) bool

// way is one way to send a message. It offers each challenge that comes, and returns nil
// if one was accepted.
type way func(ctx context.Context, offer Accept) error

// race tries several ways, in their order, and returns the number of the first whose
// challenge was accepted. The next way begins when one has failed, or has been silent for
// a pause. Those before go on, since they may be slow. The error is that of ctx, or the
// Fault that shows the most.
func race(ctx context.Context, pause time.Duration, ways []way, accept Accept) (won int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if end, ok := ctx.Deadline(); ok { // each way gets a part of the time
		pause = min(pause, time.Until(end)/time.Duration(len(ways)))
	}
	type result struct {
		way int
		err error
	}
	results := make(chan result, len(ways))
	var one sync.Mutex // an accept at a time, and none after the first true
	over := false
	defer func() {
		one.Lock()
		defer one.Unlock()
		over = true
	}()
	offer := func(challenge []byte) bool {
		one.Lock()
		defer one.Unlock()
		if over {
			return false
		}
		over = accept(challenge)
		return over
	}
	faults := make([]error, len(ways))
	next, begun, running := time.NewTimer(0), 0, 0
	defer next.Stop()
	stopped := ctx.Done()
	for begun < len(ways) || running > 0 {
		select {
		case <-stopped:
			if errors.Is(ctx.Err(), context.Canceled) {
				return 0, ctx.Err()
			}
			// The time is over: the ways that run end now, each with its fault.
			stopped, begun = nil, len(ways)
		case <-next.C:
			if i := begun; i < len(ways) {
				begun, running = begun+1, running+1
				go func() { results <- result{i, ways[i](ctx, offer)} }()
				next.Reset(pause)
			}
		case r := <-results:
			if r.err == nil {
				return r.way, nil
			}
			running--
			if faults[r.way] = r.err; running == 0 {
				next.Reset(0)
			}
		}
	}
	return 0, most(ctx, faults)
}

// most returns the error that shows the most, the first one of several. Some may be nil.
func most(ctx context.Context, all []error) error {
	all = slices.DeleteFunc(all, func(err error) bool { return err == nil })
	if len(all) == 0 {
		return ctx.Err()
	}
	return slices.MaxFunc(all, func(a, b error) int { return shows(a) - shows(b) })
}

// shows returns how much an error shows of what is between the client and the server.
func shows(err error) int {
	var f *Fault
	switch {
	case !errors.As(err, &f):
		return 0
	case f.Cause.Silent():
		return 1
	case f.Cause == Refused || f.Cause == NoRecord:
		return 2 // often one way only
	}
	return 3
}
