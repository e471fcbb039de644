package nftcheck

import (
	"slices"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/gate/firewall"
)

// How rules redirect packets without translation (which conntrack follows).
const (
	rewrites = "rewritten to"
	tproxies = "tproxy to"
	sends    = "fwd to"
)

// guardPriority is the priority of our chain that sees packets before
// translation.
const guardPriority = -190

// hookFix is how to close a way past a guard that sees packets too late.
const hookFix = `remove "hook" from the service, so that the guard comes before translation`

// reachOf returns where our table, if there is one, sees the packets of a
// service, by its place in the configuration. It sees no packets of a service without a
// port.
func reachOf(cfg *config.Config, place int) reach {
	ports, id := cfg.Firewall().Ports, cfg.Services[place].ID()
	i := slices.IndexFunc(ports, func(p firewall.Port) bool { return p.Service == id })
	if i < 0 {
		return reach{}
	}
	p := ports[i]
	switch p.Hook {
	case firewall.HookInput:
		return reach{input: true}
	case firewall.HookForward:
		return reach{before: p.Address.IsValid(), input: true, forward: true}
	}
	return reach{before: true, input: true, forward: true}
}
