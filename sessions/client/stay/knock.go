package stay

import (
	"cmp"
	"context"
	"net/netip"
	"time"

	"sallyport/sessions/client"
)

// againPause is the time between two sequences of a renewal, so that one loss of packets
// does not lose both.
const againPause = 200 * time.Millisecond

// byProtocol knocks by the protocol of the configuration.
func (k *keeper) byProtocol(ctx context.Context, why Reason) (result client.Result, addresses []netip.Addr, err error) {
	renew := why == Renewal
	if k.cfg.Exchange != nil {
		result, err = k.exchange(ctx, renew, &addresses)
	} else {
		result, err = k.sequence(ctx, renew, &addresses)
	}
	return result, addresses, err
}

func (k *keeper) sequence(ctx context.Context, renew bool, addresses *[]netip.Addr) (client.Result, error) {
	c := *k.cfg.Sequence
	c.Keep, c.NoWait, c.CheckBefore = false, true, halfOpen
	c.Report = resolved(c.Report, addresses)
	if k.once {
		c.Attempts = 1
	}
	if renew {
		c.Watch = renewalWatch(cmp.Or(c.Watch, c.Profile.Watch))
	}
	result, err := client.Knock(ctx, c)
	if err != nil || !result.OpenBefore {
		return result, err
	}
	// The answer does not prove that the sequence arrived.
	if err := pause(ctx, againPause); err != nil {
		return client.Result{}, err
	}
	c.Watch = renewalWatch(cmp.Or(c.Watch, c.Profile.Watch))
	return client.Knock(ctx, c)
}

// exchange makes one exchange: its challenge proves that packets arrive.
func (k *keeper) exchange(ctx context.Context, renew bool, addresses *[]netip.Addr) (client.Result, error) {
	c := *k.cfg.Exchange
	c.Keep, c.CheckBefore = false, false
	c.Report = resolved(c.Report, addresses)
	if renew {
		c.Watch = renewalWatch(c.Watch)
	}
	return client.Exchange(ctx, c)
}

// renewalWatch returns how to watch the service at a renewal.
func renewalWatch(w client.Watch) client.Watch {
	if w == client.WatchNone || !halfOpen {
		return client.WatchNone
	}
	return client.WatchSYN
}

// resolved returns a report that keeps the addresses of the server.
func resolved(report func(client.Event), addresses *[]netip.Addr) func(client.Event) {
	return func(e client.Event) {
		if e, ok := e.(client.Resolved); ok {
			*addresses = e.Addresses
		}
		if report != nil {
			report(e)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
