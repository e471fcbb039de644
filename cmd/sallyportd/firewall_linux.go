package main

import (
	"bytes"
	"fmt"
	"os"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"sallyport/sessions/gate/firewall"
	"sallyport/verify/schedule"
)

const letThem = "make sure that it lets UDP to ports 1025 to 65535 in, and what the services need"

// checkFirewall looks for nftables chains that would drop knocks on their way
// in, or what they are for: it follows their rules as a packet from anywhere
// would. What it does not understand of a rule may be true or not. Our own
// table is for dropping.
func checkFirewall(cfg config) (warnings []string) {
	if names, err := os.ReadFile("/proc/net/ip_tables_names"); err == nil && len(bytes.TrimSpace(names)) > 0 {
		warnings = append(warnings, "this host has legacy iptables rules, which are not looked at: "+letThem)
	}
	r, err := readRuleset()
	if err != nil {
		return append(warnings, fmt.Sprintf("this host's firewall cannot be read (%v; it takes CAP_NET_ADMIN): %s", err, letThem))
	}
	for _, c := range r.chains {
		if forwards(c) {
			warnings = append(warnings, r.complainOfForwarding(c, cfg)...)
		}
		if !standsBefore(c) {
			continue
		}
		knocks := arrivals{protocol: unix.IPPROTO_UDP, low: schedule.MinPort, high: schedule.MaxPort}
		warnings = append(warnings, r.complain(c, knocks, "knocks", fmt.Sprintf("udp dport %d-%d", knocks.low, knocks.high))...)
		for _, s := range cfg.services {
			if s.forward && translated(c) {
				continue // it has another port, and maybe another host, by then
			}
			to := arrivals{protocol: s.number(), low: int(s.port()), high: int(s.port())}
			warnings = append(warnings, r.complain(c, to, "what is for service "+s.name, fmt.Sprintf("%s dport %d", s.protocol(), s.port()))...)
		}
	}
	return warnings
}

// complain says what a chain does to arrivals, and how to let them in.
func (r ruleset) complain(c *nftables.Chain, a arrivals, what, match string) []string {
	where := fmt.Sprintf("%s %s %s", familyName(c.Table.Family), c.Table.Name, c.Name)
	way := fmt.Sprintf("nft insert rule %s %s accept", where, match)
	w := walk{ruleset: r, arrivals: a}
	switch w.follow(c, 0) {
	case eaten:
		return []string{fmt.Sprintf("the firewall chain \"%s\" drops %s: %s", where, what, way)}
	case partly:
		return []string{fmt.Sprintf("the firewall chain \"%s\" drops some of %s: %s", where, what, way)}
	case undecided:
		if c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop {
			return []string{fmt.Sprintf("the firewall chain \"%s\" drops by default, and no rule plainly accepts %s: %s", where, what, way)}
		}
	}
	return nil
}

// complainOfForwarding says what a chain does to what is led elsewhere for a
// service: to a port and a host that only the rules of translation know.
func (r ruleset) complainOfForwarding(c *nftables.Chain, cfg config) (warnings []string) {
	for _, s := range cfg.services {
		if !s.forward {
			continue
		}
		w := walk{ruleset: r, arrivals: arrivals{protocol: s.number(), low: 1, high: 1<<16 - 1, somewhere: true}}
		where := fmt.Sprintf("%s %s %s", familyName(c.Table.Family), c.Table.Name, c.Name)
		switch f := w.follow(c, 0); {
		case f == eaten && w.spared:
			warnings = append(warnings, fmt.Sprintf("the firewall chain \"%s\" drops what is forwarded, but for what its earlier rules accept: make sure that they accept what is for service %s", where, s.name))
		case f == eaten:
			warnings = append(warnings, fmt.Sprintf("the firewall chain \"%s\" drops all %s that is forwarded, and so what is for service %s: let a rule before that accept it", where, s.protocol(), s.name))
		case f == undecided && c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop:
			warnings = append(warnings, fmt.Sprintf("the firewall chain \"%s\" drops by default what is forwarded: make sure that a rule of it accepts what is for service %s, as Docker's do for the ports that it publishes", where, s.name))
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
func (s serviceConfig) number() byte {
	if s.udp {
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
