// Package nftcheck follows packets through the nftables rules of other programs,
// and says which rules drop what the server has to receive.
package nftcheck

import (
	"bytes"
	"fmt"
	"os"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/gate/firewall"
	"sallyport/verify/schedule"
)

var firewallHint = fmt.Sprintf("make sure that it lets UDP to ports %d to %d in, and what the services need", schedule.MinPort, schedule.MaxPort)

// Check looks for nftables chains that would drop knocks on their way in, or the
// packets of services: it follows their rules as a packet from anywhere would.
// What it does not understand of a rule may be true or not. Our own table is
// for dropping. It needs CAP_NET_ADMIN, and without it says so.
func Check(services []config.Service) (warnings []string) {
	if names, err := os.ReadFile("/proc/net/ip_tables_names"); err == nil && len(bytes.TrimSpace(names)) > 0 {
		warnings = append(warnings, "this host has legacy iptables rules, which are not looked at: "+firewallHint)
	}
	r, err := readRuleset()
	if err != nil {
		return append(warnings, fmt.Sprintf("this host's firewall cannot be read (%v; it takes CAP_NET_ADMIN): %s", err, firewallHint))
	}
	for _, c := range r.chains {
		if forwards(c) {
			warnings = append(warnings, r.warnAboutForwarding(c, services)...)
		}
		if !standsBefore(c) {
			continue
		}
		knocks := traffic{protocol: unix.IPPROTO_UDP, low: schedule.MinPort, high: schedule.MaxPort}
		warnings = append(warnings, r.warnAbout(c, knocks, "knocks", fmt.Sprintf("udp dport %d-%d", knocks.low, knocks.high))...)
		for i := range services {
			s := &services[i]
			if s.Published() && translated(c) {
				continue // it has another port, and maybe another host, by then
			}
			to := traffic{protocol: number(s), low: int(s.Port()), high: int(s.Port())}
			warnings = append(warnings, r.warnAbout(c, to, "what is for service "+s.Name, fmt.Sprintf("%s dport %d", s.Protocol(), s.Port()))...)
		}
	}
	return warnings
}

// warnAbout says what a chain does to traffic, and how to let them in.
func (r ruleset) warnAbout(c *nftables.Chain, a traffic, what, match string) []string {
	where := fmt.Sprintf("%s %s %s", familyName(c.Table.Family), c.Table.Name, c.Name)
	way := fmt.Sprintf("nft insert rule %s %s accept", where, match)
	w := walk{ruleset: r, traffic: a}
	switch w.follow(c, 0) {
	case dropped:
		return []string{fmt.Sprintf("the firewall chain \"%s\" drops %s: %s", where, what, way)}
	case someDropped:
		return []string{fmt.Sprintf("the firewall chain \"%s\" drops some of %s: %s", where, what, way)}
	case undecided:
		if c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop {
			return []string{fmt.Sprintf("the firewall chain \"%s\" drops by default, and no rule plainly accepts %s: %s", where, what, way)}
		}
	}
	return nil
}

// warnAboutForwarding says what a chain does to what is led elsewhere for a
// service: to a port and a host that only the rules of translation know.
func (r ruleset) warnAboutForwarding(c *nftables.Chain, services []config.Service) (warnings []string) {
	for i := range services {
		s := &services[i]
		if !s.Published() {
			continue
		}
		w := walk{ruleset: r, traffic: traffic{protocol: number(s), low: 1, high: 1<<16 - 1, somewhere: true}}
		where := fmt.Sprintf("%s %s %s", familyName(c.Table.Family), c.Table.Name, c.Name)
		switch f := w.follow(c, 0); {
		case f == dropped && w.maybeAccepted:
			warnings = append(warnings, fmt.Sprintf("the firewall chain \"%s\" drops what is forwarded, but for what its earlier rules accept: make sure that they accept what is for service %s", where, s.Name))
		case f == dropped:
			warnings = append(warnings, fmt.Sprintf("the firewall chain \"%s\" drops all %s that is forwarded, and so what is for service %s: let a rule before that accept it", where, s.Protocol(), s.Name))
		case f == undecided && c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop:
			warnings = append(warnings, fmt.Sprintf("the firewall chain \"%s\" drops by default what is forwarded: make sure that a rule of it accepts what is for service %s, as Docker's do for the ports that it publishes", where, s.Name))
		}
	}
	return warnings
}

// forwards reports whether a chain stands in the way of what is forwarded.
func forwards(c *nftables.Chain) bool {
	return filters(c) && *c.Hooknum == *nftables.ChainHookForward
}

// standsBefore reports whether a chain stands in the way of what comes in.
func standsBefore(c *nftables.Chain) bool {
	return filters(c) && (*c.Hooknum == *nftables.ChainHookInput || *c.Hooknum == *nftables.ChainHookPrerouting)
}

// translated reports whether a chain comes after the translation of
// destinations.
func translated(c *nftables.Chain) bool {
	return *c.Hooknum != *nftables.ChainHookPrerouting || c.Priority == nil || *c.Priority >= *nftables.ChainPriorityNATDest
}

// filters reports whether a chain is somebody else's, and may drop.
func filters(c *nftables.Chain) bool {
	if c.Table.Name == firewall.Name || c.Hooknum == nil || c.Type != nftables.ChainTypeFilter {
		return false
	}
	switch c.Table.Family {
	case nftables.TableFamilyINet, nftables.TableFamilyIPv4, nftables.TableFamilyIPv6:
		return true
	}
	return false
}

// number is that of the service's protocol, as packets have it.
func number(s *config.Service) byte {
	if s.UDP {
		return unix.IPPROTO_UDP
	}
	return unix.IPPROTO_TCP
}

type ruleset struct {
	chains []*nftables.Chain
	rules  map[*nftables.Chain][]*nftables.Rule
}

func readRuleset() (r ruleset, err error) {
	conn, err := nftables.New()
	if err != nil {
		return r, err
	}
	if r.chains, err = conn.ListChains(); err != nil {
		return r, err
	}
	r.rules = map[*nftables.Chain][]*nftables.Rule{}
	for _, c := range r.chains {
		if r.rules[c], err = conn.GetRules(c.Table, c); err != nil {
			return r, fmt.Errorf("chain %s %s: %w", c.Table.Name, c.Name, err)
		}
	}
	return r, nil
}

func (r ruleset) find(in *nftables.Chain, name string) *nftables.Chain {
	for _, c := range r.chains {
		if c.Name == name && c.Table.Name == in.Table.Name && c.Table.Family == in.Table.Family {
			return c
		}
	}
	return nil
}

func familyName(f nftables.TableFamily) string {
	switch f {
	case nftables.TableFamilyIPv4:
		return "ip"
	case nftables.TableFamilyIPv6:
		return "ip6"
	}
	return "inet"
}
