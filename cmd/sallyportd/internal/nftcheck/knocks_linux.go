package nftcheck

import (
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/verify/schedule"
)

// knocksElsewhere warns of rules that redirect knocks away from the server.
func (r *ruleset) knocksElsewhere(cfg *config.Config, a addresses, guarded bool) (warnings []string) {
	if guarded && !cfg.Stealth {
		return nil // our table exempts knocks from conntrack: no rule translates them
	}
	j := judgement{ruleset: r, cfg: cfg, addresses: a}
	ports := packet{protocol: unix.IPPROTO_UDP, low: schedule.MinPort, high: schedule.MaxPort}
	v4, v6 := cfg.Listen.Families()
	var to []packet
	for _, x := range cfg.Listen {
		if !x.IsUnspecified() {
			to = append(to, a.packets(ports, x.Unmap().WithZone(""), v4, v6)...)
		}
	}
	if len(to) == 0 {
		to = a.packets(ports, netip.Addr{}, v4, v6)
	}
	seen := map[string]bool{}
	for _, p := range to {
		for _, l := range slices.Concat(j.redirectsOf(p, atPrerouting), j.redirectsOf(p, atInput)) {
			key := fmt.Sprint(l.chain.name, l.handle)
			if (l.high-l.low+1)*ignoredShare < p.high-p.low || seen[key] || l.source != "" && l.hook != atInput {
				continue
			}
			seen[key] = true
			switch {
			case guarded && l.source == "":
				warnings = append(warnings, fmt.Sprintf("%s %s UDP ports %d to %d to %s, where stealth has no effect: a scanner can distinguish a port that answers there from knock ports, which are silent: let the rule name only the ports that it needs",
					l, l.verb(), l.low, l.high, l.where(0)))
				continue
			case guarded:
				continue // not knocks
			case l.source != "":
				warnings = append(warnings, fmt.Sprintf("%s changes the source address of knocks, and leases are granted to the new address: every host that gets this address is let in: remove the rule", l))
				continue
			}
			warnings = append(warnings, fmt.Sprintf("%s %s knocks to ports %d to %d to %s: they do not reach the server: let the rule exclude knocks to this host, or set stealth = true, so that no rule translates them",
				l, l.verb(), l.low, l.high, l.where(0)))
		}
	}
	return warnings
}

// ignoredShare: a rule gets no warning if it redirects at most one in so many of
// the knock ports. An attempt hardly ever draws such a port, and the next attempt
// draws others.
const ignoredShare = 100
