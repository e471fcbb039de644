package nftcheck

import (
	"fmt"

	"golang.org/x/sys/unix"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/gate/firewall"
)

// jumps warns of chains of the operator that drop all packets that a lease of a
// service lets in. A chain that may accept some is meant to limit.
func (r *ruleset) jumps(cfg *config.Config, a addresses) (warnings []Warning) {
	for i := range cfg.Services {
		s := &cfg.Services[i]
		if s.Jump() == "" {
			continue
		}
		c := r.byName[name{family: unix.NFPROTO_INET, table: firewall.Name, name: s.Jump()}]
		if c == nil {
			continue
		}
		if rule, over := r.dropsAllOf(c, s, a); rule != "" {
			warnings = append(warnings, Warning{
				fmt.Sprintf("the chain %q, to which service %s jumps, drops every new connection%s: %s", s.Jump(), s.Name, over, rule),
				fmt.Sprintf("\"nft -a list chain %s\" shows its rules", c.name),
			})
		}
	}
	return warnings
}

// dropsAllOf returns the rule by which a chain drops all packets to some port of a
// service, and over which family if it is one; an empty rule: there is none. The
// chain runs after the translation of a port in some hooks, and before it in others:
// it is judged by the packet that the client sends.
func (r *ruleset) dropsAllOf(c *chain, s *config.Service, a addresses) (rule, over string) {
	drops := map[byte]string{}
	families := map[byte]bool{}
	for _, at := range s.At() {
		p, v4, v6 := packetTo(s, at)
		for _, p := range a.packets(p, at.Address, v4, v6) {
			families[p.family] = true
			w := walk{ruleset: r, packet: p}
			w.enter(c, p.ports())
			for _, d := range w.drops {
				if d.sure && drops[p.family] == "" {
					drops[p.family] = d.rule
				}
			}
		}
	}
	for family, by := range map[byte]string{unix.NFPROTO_IPV6: " over IPv6", unix.NFPROTO_IPV4: " over IPv4"} {
		if drops[family] != "" {
			rule, over = drops[family], by
		}
	}
	if len(drops) == len(families) {
		over = ""
	}
	return rule, over
}
