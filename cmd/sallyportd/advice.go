package main

import (
	"sallyport/cmd/sallyportd/internal/config"
)

// advise says what strangers can see of the services, and what would show them
// less.
func advise(cfg *config.Config, host config.Host) (advice []string) {
	for i := range cfg.Services {
		if a := cfg.Services[i].Advice(cfg, host); a != "" {
			advice = append(advice, a)
		}
	}
	switch {
	case !cfg.Stealth && cfg.NeedsFirewall(host) != "":
		advice = append(advice, "the knock ports can be told from others, which answer with ICMP, and a flood of UDP to any port takes up room in the kernel's connection table: stealth = true ends both")
	case !cfg.Stealth && host.NetAdmin():
		advice = append(advice, "the knock ports can be told from others, which answer with ICMP: stealth = true hides them, since CAP_NET_ADMIN is there")
	}
	return advice
}
