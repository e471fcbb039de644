package nftcheck

import (
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/gate/firewall"
)

// How rules lead packets elsewhere, beside translation, which is tracked.
const (
	rewrites = "rewritten to"
	tproxies = "tproxy to"
	hands    = "fwd to"
)

// guardPriority is that of the chain that sees packets before translation.
const guardPriority = -190

// cureOfHook is what closes a way past a guard that sees packets too late.
const cureOfHook = `leave "hook" out, so that the guard stands before translation`

// reachOf returns where our table, if there is one, sees the packets of a
// service, by its place in the configuration.
func reachOf(cfg *config.Config, place int) reach {
	p := cfg.Firewall().Ports[place]
	switch p.Hook {
	case firewall.HookInput:
		return reach{input: true}
	case firewall.HookForward:
		return reach{before: p.Address.IsValid(), input: true, forward: true}
	}
	return reach{before: true, input: true, forward: true}
}
