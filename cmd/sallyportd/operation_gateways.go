package main

import (
	"context"
	"slices"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/privilege"
	"sallyport/sessions/client"
)

// newOperationMaker is newProfileMaker for the profile of an operation, which names the
// gateways if exchanges may be split over them. The flag names one server for it.
func newOperationMaker(
	ctx context.Context, env cli.Env, cfg *config.Config, list clients.List, flag, id string, withClient bool,
) (m profileMaker, err error) {
	over := splitOver(cfg, id, withClient)
	if flag != "" || over == nil {
		return newProfileMaker(ctx, env, cfg, list, flag)
	}
	m = profileMaker{cfg: cfg, list: list}
	if m.host, err = privilege.Probe(); err != nil {
		return m, err
	}
	m.findGateways(ctx, env, over)
	return m, nil
}

// splitOver returns the gateways over which the profile of an operation splits exchanges;
// nil: each is with one server. The gateways hand only packets over UDP to each other, and
// each must have the service, since the client cannot choose which one opens. A profile
// with the client's keys splits sequences too, so the fleet must do both.
func splitOver(cfg *config.Config, id string, withClient bool) []client.Gateway {
	at := slices.IndexFunc(cfg.Operations, func(o config.Operation) bool { return o.ID == id })
	switch {
	case at < 0 || cfg.Fleet == nil || cfg.Fleet.Relay == nil:
		return nil
	case cfg.Challenge.CarriersOnly || cfg.Challenge.Answers != nil:
		return nil
	case withClient && !cfg.Fleet.Split:
		return nil
	}
	s := cfg.Service(cfg.Operations[at].Service)
	if s.Proves {
		return nil
	}
	var over []client.Gateway
	for _, g := range cfg.Fleet.Named {
		_, relays := cfg.Fleet.Relay.Gateways[g.Name]
		if !relays || !s.CarriedBy(g.Name) {
			return nil
		}
		over = append(over, g)
	}
	if len(over) < 2 {
		return nil
	}
	return over
}
