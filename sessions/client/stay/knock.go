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

// byProtocol knocks by the protocol of the configuration, at one gateway after the other.
func (k *keeper) byProtocol(ctx context.Context, why Reason) (result client.Result, addresses []netip.Addr, err error) {
	renew, first := why == Renewal, true
	g := k.cfg.Gateways
	g.Once = g.Once || k.once
	err = g.Try(ctx, func(ctx context.Context, t client.Turn) (bool, error) {
		var at []netip.Addr
		r, err := k.at(ctx, t, renew, &at)
		confirmed := r.Watched || r.Carrier != ""
		if r.Gateway = g.Names[t.Gateway]; first || err == nil && confirmed {
			result, addresses, first = r, at, err != nil
		}
		return confirmed, err
	})
	return result, addresses, err
}

// at knocks at one gateway.
func (k *keeper) at(ctx context.Context, t client.Turn, renew bool, addresses *[]netip.Addr) (client.Result, error) {
	if len(k.cfg.Exchanges) > 0 {
		c := k.cfg.Exchanges[t.Gateway]
		if t.Brief && c.Attempts == 0 {
			c.Attempts = 1
		}
		return k.exchange(ctx, c, renew, addresses)
	}
	c := k.cfg.Sequences[t.Gateway]
	if t.Brief && c.Attempts == 0 && c.Profile.Service != "" {
		c.Attempts = 1
	}
	return k.sequence(ctx, c, renew, addresses)
}

func (k *keeper) sequence(ctx context.Context, c client.Config, renew bool, addresses *[]netip.Addr) (client.Result, error) {
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
func (k *keeper) exchange(ctx context.Context, c client.ExchangeConfig, renew bool, addresses *[]netip.Addr) (client.Result, error) {
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
