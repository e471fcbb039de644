package client

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"sallyport/verify/challenge/carrier"
)

// exchanging is one call of Exchange.
type exchanging struct {
	cfg     ExchangeConfig
	by      Carrier // not CarrierAuto
	targets []target
	lookup  func(context.Context) <-chan []target // asks the resolver for more; nil: it has answered
	spread  map[netip.Addr][]target               // the addresses of all gateways, by that of the first one
	found   exchangeFindings
	enough  bool // one attempt has shown all that can be known
	own     bool // the client watches the service of the challenge
	granted bool // only granted addresses complete a handshake with the service
}

// newExchanging returns the state of a call, with the first addresses of the server.
func newExchanging(ctx context.Context, cfg ExchangeConfig, by Carrier, service string) (*exchanging, error) {
	x := &exchanging{cfg: cfg, by: by}
	if len(cfg.Gateways) > 0 && by == CarrierPackets {
		return x, x.resolveGateways(ctx, service)
	}
	p := Profile{Server: cfg.Server, Addresses: cfg.Addresses, Service: service}
	none := func() []netip.Addr { return nil }
	targets, err := resolve(ctx, p, cfg.Family, none)
	if err != nil && cfg.tunnels(by) && ctx.Err() == nil {
		// Only the web server must be reached, perhaps through a proxy that resolves its name.
		x.targets = []target{{knock: netip.IPv6Unspecified()}}
		return x, nil
	}
	if err != nil {
		return nil, err
	}
	if x.targets, err = x.reachable(targets); err != nil {
		return nil, err
	}
	cfg.Report(resolved(cfg.Server, x.targets))
	x.lookup = lookupLater(p, cfg.Family, none)
	return x, nil
}

func (x *exchanging) watches(t target) bool { return t.watched() && x.cfg.Watch != WatchNone }

// attempt sends a request to each address, one after the other as a knock, and responds
// to the first challenge: one operation is enough.
func (x *exchanging) attempt(ctx context.Context, n int) (Result, error) {
	r, err := x.firstChallenge(ctx, n)
	if err != nil {
		return Result{}, err
	}
	defer r.close()
	stop := context.AfterFunc(ctx, r.close)
	defer stop()
	result, err := x.respond(ctx, r, n)
	if err == nil || ctx.Err() != nil {
		return result, err
	}
	if localProofError(err) != nil {
		return result, err
	}
	x.cfg.Report(Unanswered{Attempt: n, Address: r.knock, Service: result.Service, Err: err})
	if i := slices.Index(x.targets, r.asked); len(x.targets) > 1 && i >= 0 {
		// Another address has its turn first in the next attempt.
		x.targets = append(slices.Delete(x.targets, i, i+1), r.asked)
	}
	if isSendError(err) && len(x.targets) == 1 {
		return Result{}, x.cannotSend(n, err)
	}
	return Result{}, errUnanswered
}

// add adds a target to a plan. An exchange for a connection is one for all addresses.
func (x *exchanging) add(p *plan, t target) {
	p.add(t.named, t.knock)
	if i := len(p.list) - 1; i > 0 && x.by != CarrierPackets && x.kind(t.knock) == carrier.RequestConnection {
		p.over(i, time.Now())
	}
}

// know adds targets that only the resolver gives.
func (x *exchanging) know(p *plan, list []target) {
	list, _ = x.reachable(list)
	for _, t := range list {
		if !slices.ContainsFunc(x.targets, func(other target) bool { return other.knock == t.knock }) {
			x.targets = append(x.targets, t)
			x.add(p, t)
		}
	}
	x.cfg.Report(resolved(x.cfg.Server, x.targets))
}

// cannotSend returns the error if this computer cannot send to any address.
func (x *exchanging) cannotSend(attempts int, err error) error {
	return cannotSend(x.cfg.Server, attempts, err, x.cfg.Challenge.ports())
}
