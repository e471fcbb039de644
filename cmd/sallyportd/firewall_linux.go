package main

import (
	"bytes"
	"fmt"
	"os"

	"github.com/google/nftables"
)

const letThem = "make sure that it lets UDP to ports 1025 to 65535 in"

// checkFirewall looks for nftables chains that would drop knocks on their way
// in: it follows their rules as a knock from anywhere would. What it does not
// understand of a rule may be true or not.
func checkFirewall() (warnings []string) {
	if names, err := os.ReadFile("/proc/net/ip_tables_names"); err == nil && len(bytes.TrimSpace(names)) > 0 {
		warnings = append(warnings, "this host has legacy iptables rules, which are not looked at: "+letThem)
	}
	r, err := readRuleset()
	if err != nil {
		return append(warnings, fmt.Sprintf("this host's firewall cannot be read (%v; it takes CAP_NET_ADMIN): %s", err, letThem))
	}
	for _, c := range r.chains {
		if !looksAtKnocks(c) {
			continue
		}
		where := fmt.Sprintf("%s %s %s", familyName(c.Table.Family), c.Table.Name, c.Name)
		way := "nft insert rule " + where + " udp dport 1025-65535 accept"
		switch r.follow(c, 0) {
		case eaten:
			warnings = append(warnings, fmt.Sprintf("the firewall chain \"%s\" drops knocks: %s", where, way))
		case partly:
			warnings = append(warnings, fmt.Sprintf("the firewall chain \"%s\" drops some knocks: %s", where, way))
		case undecided:
			if c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop {
				warnings = append(warnings, fmt.Sprintf("the firewall chain \"%s\" drops by default, and no rule plainly accepts knocks: %s", where, way))
			}
		}
	}
	return warnings
}

// looksAtKnocks reports whether a chain stands in the way of what comes in.
func looksAtKnocks(c *nftables.Chain) bool {
	if c.Hooknum == nil || c.Type != nftables.ChainTypeFilter {
		return false
	}
	switch c.Table.Family {
	case nftables.TableFamilyINet, nftables.TableFamilyIPv4, nftables.TableFamilyIPv6:
	default:
		return false
	}
	return *c.Hooknum == *nftables.ChainHookInput || *c.Hooknum == *nftables.ChainHookPrerouting
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
