package nftcheck

import (
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/verify/schedule"
)

// knocksElsewhere warns of rules that lead knocks away from the server.
func (r *ruleset) knocksElsewhere(cfg *config.Config, a addresses, guarded bool) (warnings []string) {
	if guarded && !cfg.Stealth {
		return nil // our table has knocks stay untracked: nothing translates them
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
		for _, l := range slices.Concat(j.leadsOf(p, atPrerouting), j.leadsOf(p, atInput)) {
			key := fmt.Sprint(l.chain.name, l.handle)
			if (l.high-l.low+1)*few < p.high-p.low || seen[key] || l.source != "" && l.hook != atInput {
				continue
			}
			seen[key] = true
			switch {
			case guarded && l.source == "":
				warnings = append(warnings, fmt.Sprintf("%s %s UDP ports %d to %d to %s, where stealth does not reach: what answers there can be told from knock ports, which are silent: have the rule name only the ports that it needs",
					l, l.leads(), l.low, l.high, l.where(0)))
				continue
			case guarded:
				continue // not knocks
			case l.source != "":
				warnings = append(warnings, fmt.Sprintf("%s gives knocks another source address, to which leases are then given: who appears with it, is let in: remove it", l))
				continue
			}
			warnings = append(warnings, fmt.Sprintf("%s %s knocks to ports %d to %d to %s: they do not reach the server: have the rule except this host's knocks, or set stealth = true, with which nothing translates them",
				l, l.leads(), l.low, l.high, l.where(0)))
		}
	}
	return warnings
}

// few is the part of the knock ports that may be led elsewhere without a word:
// of so many ports one. Attempts hardly ever meet it, and the next has others.
const few = 100
