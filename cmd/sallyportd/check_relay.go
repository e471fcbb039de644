package main

import (
	"context"
	"errors"
	"syscall"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/fleet/relay"
)

// checkRelay warns about relay addresses that strangers may reach.
func checkRelay(cfg *config.Config) (found []finding) {
	if cfg.Fleet == nil || cfg.Fleet.Relay == nil {
		return nil
	}
	if err := cfg.Fleet.Relay.PrivateRelay(); err != nil {
		found = append(found, warn("fleet-relay-public", "use addresses of a private network or tunnel, or let only the other gateways reach the port",
			"[fleet]: %v: strangers could flood it", err))
	}
	return found
}

// checkRelayed warns about other gateways that cannot hand packets to this one, or this one
// to them.
func checkRelayed(ctx context.Context, cfg *config.Config) (found []finding) {
	if cfg.Fleet == nil || cfg.Fleet.Relay == nil {
		return nil
	}
	r := cfg.Fleet.Relay
	all, err := askRelay(ctx, cfg)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return append(found, warn("fleet-relay-address", "choose another port in relay, at all gateways, or stop the other program",
			"[fleet]: another program has the relay address of this gateway, %s", r.Gateways[cfg.Fleet.Name]))
	case err != nil:
		return append(found, warn("fleet-relay-address", "name an address of this host in relay, at all gateways",
			"[fleet]: the server cannot have the relay address of this gateway, %s: %v", r.Gateways[cfg.Fleet.Name], hint.Cause(err)))
	}
	for _, g := range all {
		switch at := r.Gateways[g.Name]; {
		case g.Heard && g.Hears:
		case g.Heard:
			found = append(found, warn("fleet-relay-one-way", "let UDP from this gateway pass to that address",
				"[fleet]: gateway %s gets no datagram of this one at its relay address %s", g.Name, at))
		case g.Forged:
			found = append(found, warn("fleet-relay-key", "copy the file relay_key_file from one gateway to all, and restart these",
				"[fleet]: datagrams from the relay address %s of gateway %s are not authentic: it has another key", at, g.Name))
		default:
			found = append(found, warn("fleet-relay-silent", "start that gateway, with this one in its relay; and let UDP between the two addresses pass",
				"[fleet]: no datagram of gateway %s arrives from its relay address %s", g.Name, at))
		}
	}
	return found
}

// askRelay returns what the running server knows of the other gateways, or asks them in its
// place. It returns none if that is not possible.
func askRelay(ctx context.Context, cfg *config.Config) ([]relay.Reach, error) {
	all, err := admin.Conn{Socket: cfg.AdminSocket}.Relay(ctx)
	var unreachable *admin.UnreachableError
	if !errors.As(err, &unreachable) {
		return all, nil // a server of an earlier release returns an error
	}
	if runs, err := serverHoldsState(ctx, cfg); runs || err != nil {
		return nil, nil // this user may not ask it
	}
	r := cfg.Fleet.Relay
	return relay.Probe(ctx, relay.Config{Name: cfg.Fleet.Name, Gateways: r.Gateways, Key: r.Key})
}
