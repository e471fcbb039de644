package stay

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"time"

	"sallyport/sessions/client"
)

// keeper is the state of Run. It belongs to the goroutine of Run.
type keeper struct {
	cfg      Config
	schedule *schedule
	lease    time.Duration // expected, after a knock
	until    time.Time     // the end of the lease; zero: there was none
	failed   bool          // the last knock
	looks    looks

	// knock makes a knock, and returns the addresses of the server too, if it knows them.
	knock func(ctx context.Context, why Reason) (client.Result, []netip.Addr, error)
	done  chan ended
	stop  context.CancelFunc // ends the knock that runs; nil: none does
	why   Reason             // of the last knock
	once  bool               // the knock makes one attempt
}

// ended is the end of a knock.
type ended struct {
	result    client.Result
	addresses []netip.Addr
	err       error
}

func newKeeper(cfg Config) *keeper {
	cfg.list()
	every, lease := cfg.Every, cfg.openFor()
	if every == 0 {
		every = renewEvery(cmp.Or(lease, DefaultOpenFor))
	}
	lease = cmp.Or(lease, max(DefaultOpenFor, every))
	k := &keeper{cfg: cfg, schedule: newSchedule(every, cfg.Since), lease: lease, done: make(chan ended, 1)}
	if !cfg.Since.IsZero() {
		k.until = cfg.Since.Add(lease)
	}
	k.knock = k.byProtocol
	return k
}

// watchFunc watches the network: it sends to changes if the way to the addresses that it
// received last may have changed. It returns when ctx ends.
type watchFunc func(ctx context.Context, addresses <-chan []netip.Addr, changes chan<- struct{})

func (k *keeper) run(ctx context.Context, watch watchFunc) error {
	ctx, cancel := context.WithCancel(ctx)
	addresses, changes, jumps := make(chan []netip.Addr, 1), make(chan struct{}, 1), make(chan struct{}, 1)
	watched, jumped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		watch(ctx, addresses, changes)
	}()
	go func() {
		defer close(jumped)
		if k.cfg.Clock.OnJump != nil {
			k.cfg.Clock.OnJump(ctx, func() { offer(jumps, struct{}{}) })
		}
	}()
	defer func() {
		cancel()
		k.finish()
		<-watched
		<-jumped
	}()
	var known []netip.Addr
	k.looks = look(k.cfg.Clock)
	for {
		if k.looks.passed(k.cfg.Clock).suspended() {
			k.change(Resume)
		}
		now := k.cfg.Clock.Boot()
		at, why := k.schedule.next(now)
		if !at.IsZero() && !at.After(now) {
			k.begin(ctx, now, why)
			continue
		}
		wait := tick
		if !at.IsZero() {
			wait = min(wait, at.Sub(now))
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		case <-jumps:
		case <-changes:
			k.change(Network)
		case _, more := <-k.cfg.Changed:
			if more {
				k.change(Network)
			} else {
				k.cfg.Changed = nil // closed: there are no further ones
			}
		case e := <-k.done:
			if err := k.end(ctx, e); err != nil {
				timer.Stop()
				return err
			}
			if len(e.addresses) > 0 && !slices.Equal(e.addresses, known) {
				known = e.addresses
				replace(addresses, known)
			}
		}
		timer.Stop()
	}
}

// change records a change, and reports it unless a knock follows one already.
func (k *keeper) change(why Reason) {
	if k.schedule.begun.IsZero() {
		return // the first knock follows anyway
	}
	if k.schedule.first.IsZero() {
		k.cfg.Report(Moving{Reason: why})
	}
	k.schedule.changed(k.cfg.Clock.Boot(), why)
}

// begin begins a knock, in place of one that runs.
func (k *keeper) begin(ctx context.Context, now time.Time, why Reason) {
	k.abort()
	k.schedule.begin(now)
	k.once = k.schedule.single()
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // finish ends it
	k.stop, k.why = cancel, why
	go func() {
		result, addresses, err := k.knock(ctx, why)
		k.done <- ended{result, addresses, err}
	}()
}

// grace is how long the end of Run waits for a renewal. If that were ended, its nonces
// would count as those of a failed attempt.
const grace = 300 * time.Millisecond

// finish ends the knock that runs, if one does. A renewal may complete before.
func (k *keeper) finish() {
	if k.stop != nil && k.why == Renewal {
		timer := time.AfterFunc(grace, k.stop)
		defer timer.Stop()
	} else if k.stop != nil {
		k.stop()
	}
	k.join()
}

// abort ends the knock that runs, if one does.
func (k *keeper) abort() {
	if k.stop != nil {
		k.stop()
	}
	k.join()
}

// join waits for the end of the knock that runs, if one does.
func (k *keeper) join() {
	if k.stop != nil {
		<-k.done
		k.stop = nil
	}
}

// end takes the result of a knock. It returns an error if Run must end.
func (k *keeper) end(ctx context.Context, e ended) error {
	k.stop()
	k.stop = nil
	if ctx.Err() != nil {
		return ctx.Err()
	}
	first := k.until.IsZero()
	if e.err != nil && lasting(e.err, first) {
		return e.err
	}
	now := k.cfg.Clock.Boot()
	k.schedule.end(now, e.err == nil)
	if e.err != nil {
		next, _ := k.schedule.next(now)
		k.cfg.Report(Failed{
			Err: e.err, Reason: k.why, Again: k.failed, Closed: first || !now.Before(k.until), Retry: max(next.Sub(now), 0),
		})
		k.failed = true
		return nil
	}
	k.until = k.schedule.begun.Add(k.lease)
	opened := Opened{Result: e.result, Reason: k.why, Restored: k.failed}
	if k.cfg.openFor() != 0 {
		opened.For = max(k.until.Sub(now), 0)
	}
	k.failed = false
	k.cfg.Report(opened)
	return nil
}

// offer sends, unless a value waits already.
func offer[T any](to chan<- T, v T) {
	select {
	case to <- v:
	default:
	}
}

// replace sends a value in place of one that waits. Only one goroutine may call it.
func replace[T any](to chan T, v T) {
	select {
	case <-to:
	default:
	}
	to <- v
}
