package main

import (
	"fmt"
	"slices"
	"strings"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/gate/firewall"
)

// jumping returns the names of the services that jump to a chain of the operator;
// empty: to any.
func jumping(cfg *config.Config, chain string) string {
	var names []string
	for i := range cfg.Services {
		if s := &cfg.Services[i]; s.Jump() != "" && (chain == "" || s.Jump() == chain) {
			names = append(names, s.Name)
		}
	}
	return strings.Join(names, ", ")
}

// checkJumps warns about the operator's chains in a table: of jumps that the kernel
// refuses, and of chains without rules.
func checkJumps(cfg *config.Config, found firewall.Standing) (list []finding) {
	if found.Kind != firewall.Owned {
		return nil
	}
	if found.Refused != "" {
		list = append(list, warn("firewall-jump-refused", fmt.Sprintf("\"nft list table inet %s\" shows the rules of the chain: correct them", firewall.Name),
			"the kernel refuses the jump to your chain, so that it stays closed to all: service %s: %s", jumping(cfg, ""), found.Refused))
	}
	for _, c := range found.Chains {
		if services := jumping(cfg, c.Name); services != "" && c.Rules == 0 {
			list = append(list, warn("firewall-chain-empty",
				fmt.Sprintf("add rules with \"nft add rule inet %s %s …\"; the guide shows a file that keeps them over \"nft flush ruleset\" and a reboot", firewall.Name, c.Name),
				"your chain %s has no rules, so it restricts nothing: service %s", c.Name, services))
		}
	}
	return list
}

// withRules returns the names of the operator's chains that have rules.
func withRules(chains []firewall.Chain) []string {
	var names []string
	for _, c := range chains {
		if c.Rules > 0 {
			names = append(names, c.Name)
		}
	}
	return names
}

// lostText is the line about chains whose rules are gone; empty: there are none.
func lostText(chains []string) string {
	if len(chains) == 0 {
		return ""
	}
	return fmt.Sprintf("gone with it: the rules of your chain %s\n", strings.Join(slices.Sorted(slices.Values(chains)), ", "))
}
