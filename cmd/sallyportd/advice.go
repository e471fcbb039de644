package main

import (
	"sallyport/cmd/sallyportd/internal/config"
)

// adviceFor returns what strangers can see of the services and the knock ports,
// and which setting hides it.
func adviceFor(cfg *config.Config, host config.Host) (list []finding) {
	for i := range cfg.Services {
		if text := cfg.Services[i].Advice(cfg, host); text != "" {
			list = append(list, finding{advice, "service-visible", text, ""})
		}
	}
	const visible = "strangers can distinguish the knock ports from other ports, which answer with ICMP"
	switch {
	case cfg.Stealth:
	case cfg.NeedsFirewall(host) != "":
		list = append(list, finding{advice, "knock-ports-visible",
			visible + ", and a flood of UDP to any port fills the kernel's connection table", "stealth = true prevents both"})
	case host.NetAdmin():
		list = append(list, finding{advice, "knock-ports-visible",
			visible, "stealth = true hides them; CAP_NET_ADMIN, which it requires, is available"})
	}
	return list
}
