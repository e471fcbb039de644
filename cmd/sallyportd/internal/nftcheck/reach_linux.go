package nftcheck

import "sallyport/cmd/sallyportd/internal/config"

// How rules lead packets elsewhere, beside translation, which is tracked.
const (
	rewrites = "rewritten to"
	tproxies = "tproxy to"
	hands    = "fwd to"
)

// guardPriority is that of the chain that sees packets before translation.
const guardPriority = -150

// cureOfHook is what closes a way past a guard that sees packets too late.
const cureOfHook = `set hook = "forward"`

// reachOf returns where our table, if there is one, sees the packets of a
// service, by its place in the configuration.
func reachOf(cfg *config.Config, place int) reach {
	p := cfg.Firewall().Ports[place]
	return reach{input: true, forward: p.Forward}
}
