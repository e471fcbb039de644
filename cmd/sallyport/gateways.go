package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/profile"
	"sallyport/sessions/client"
)

// gateways are the servers of a profile. There is one if the profile names no gateways.
type gateways struct {
	client.Gateways
	profiles []client.Profile // one for each name, with its key
	current  *atomic.Int64    // the index of the one that has opened the service last
}

// gatewaysOf returns the gateways of a profile, or the one of --gateway.
func (o *knockOptions) gatewaysOf(ctx context.Context, p client.Profile, report func(client.Event)) (g gateways, err error) {
	if len(p.Gateways) == 0 && o.gateway != "" {
		return g, cli.Misuse(errors.New("--gateway: the profile has one server, and names no gateways"))
	}
	g.current = new(atomic.Int64)
	if o.spreads(p) {
		p.Server, p.Addresses = p.Gateways[0].Server, p.Gateways[0].Addresses
		g.Gateways, g.profiles = client.Gateways{Names: []string{""}, Once: o.attempts == 1, Report: report}, []client.Profile{p}
		return g, nil
	}
	names := []string{""} // of the only server
	if len(p.Gateways) > 0 {
		names = nil
	}
	for _, gateway := range p.Carriers() {
		names = append(names, gateway.Name)
	}
	path, _ := profile.Gateways() // without the file, the client forgets
	g.Gateways = client.Gateways{Names: names, Remembered: client.NewGatewayFile(path, p), Once: o.attempts == 1, Report: report}
	if o.gateway != "" {
		if !slices.Contains(names, o.gateway) {
			return g, cli.Misuse(fmt.Errorf("--gateway: expected one of %s, got %q", strings.Join(names, ", "), o.gateway))
		}
	}
	g.profiles, err = p.AtGateways(ctx)
	if i := slices.Index(names, o.gateway); i >= 0 && err == nil && o.gateway != "" {
		g.Names, g.profiles = names[i:i+1], g.profiles[i:i+1]
	}
	if err != nil && ctx.Err() == nil {
		err = cli.Misuse(err)
	}
	return g, err
}

// spreads reports whether an exchange is spread over all gateways of a profile.
func (o *knockOptions) spreads(p client.Profile) bool {
	challenge, err := o.usesChallenge(p)
	return err == nil && challenge && p.Spreads() && o.gateway == "" && !o.byWeb()
}

// inTurn returns the options for the turn of a gateway. A service that is not watched gets
// all attempts at once, which take no longer.
func (o *knockOptions) inTurn(t client.Turn, p client.Profile) *knockOptions {
	turn := *o
	if t.Brief && o.attempts == 0 && o.watches(p) {
		turn.attempts = 1
	}
	turn.noWait = o.noWait || t.Brief || !t.Last
	return &turn
}

// watches reports whether the client watches a service of the profile.
func (o *knockOptions) watches(p client.Profile) bool {
	service := p.Service
	if challenge, err := o.usesChallenge(p); err == nil && challenge {
		return true // the challenge is an answer
	}
	if o.service != "" {
		service = o.service
	}
	s, err := client.ParseService(service)
	return err == nil && !s.UDP && o.watchOf(p) != client.WatchNone
}

// confirmed reports whether a server has answered.
func confirmed(r client.Result) bool { return r.Watched || r.SingleUse || r.Carrier != "" }

// try knocks at the gateways until one answers.
func (g gateways) try(
	ctx context.Context, o *knockOptions, knock func(context.Context, *knockOptions, client.Profile) (client.Result, error),
) (result client.Result, err error) {
	first := true
	err = g.Try(ctx, func(ctx context.Context, t client.Turn) (bool, error) {
		p := g.profiles[t.Gateway]
		r, err := knock(ctx, o.inTurn(t, p), p)
		if r.Gateway = cmp.Or(r.Gateway, g.Names[t.Gateway]); first || err == nil && confirmed(r) {
			result, first = r, err != nil
		}
		return confirmed(r), err
	})
	return result, err
}

// configs returns how to knock at each gateway: by exchanges if challenge is set, and
// otherwise by sequences. Prove is as in exchangeConfig.
func (o *knockOptions) configs(
	ctx context.Context, env cli.Env, g gateways, challenge, prove bool, report func(client.Event),
) (sequences []client.Config, exchanges []client.ExchangeConfig, err error) {
	for _, p := range g.profiles {
		if challenge {
			cfg, err := o.exchangeConfig(ctx, env, p, prove, report)
			if err != nil {
				return nil, nil, err
			}
			exchanges = append(exchanges, cfg)
			continue
		}
		cfg, err := o.sequenceConfig(ctx, env, p, prove, report)
		if err != nil {
			return nil, nil, err
		}
		sequences = append(sequences, cfg)
	}
	return sequences, exchanges, nil
}

// gatewayProver proves connections to the gateway that has opened the service last.
type gatewayProver struct {
	provers []*client.ConnProver // one for each gateway
	at      *atomic.Int64
}

// newGatewayProver is newProver for a service at the gateways of a profile.
func newGatewayProver(ctx context.Context, env cli.Env, g gateways, bind client.Bind, service string) (*gatewayProver, error) {
	if bind != client.BindConnection {
		return nil, nil
	}
	all := &gatewayProver{at: g.current}
	for _, p := range g.profiles {
		prover, err := newProver(ctx, env, p, bind, service)
		if err != nil {
			return nil, err
		}
		all.provers = append(all.provers, prover)
	}
	return all, nil
}

// Prepare implements forwarding.Prover.
func (p *gatewayProver) Prepare(ctx context.Context) (*client.Proof, error) {
	return p.provers[p.at.Load()].Prepare(ctx)
}
