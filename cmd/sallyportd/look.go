package main

import (
	"fmt"

	"sallyport/sessions/gate/screen"
	"sallyport/verify/schedule"
)

// advise says what strangers can see of the services, and what would show
// them less.
func advise(cfg config) (advice []string) {
	say := func(format string, args ...any) { advice = append(advice, fmt.Sprintf(format, args...)) }
	able := netAdmin()
	for _, s := range cfg.services {
		switch {
		case cfg.needsHelper() || s.kind == "firewall":
		case !s.filtered && able:
			say("service %s looks closed, but not while somebody has it open: stealth = true hides that, since CAP_NET_ADMIN is there", s.name)
		case !s.filtered && !s.udp && !screen.Allowed():
			say("service %s looks closed, but not while somebody has it open: with this kernel it takes CAP_NET_ADMIN, and stealth = true, to hide that", s.name)
		case !s.filtered:
			say("service %s looks closed, but not while somebody has it open: look = \"filtered\" looks the same at all times", s.name)
		}
	}
	for _, s := range cfg.services {
		if cfg.stealth && s.kind == "firewall" && s.udp && s.reject && s.port() >= schedule.MinPort {
			say("service %s answers strangers, by policy = \"reject\", where its neighbours are silent: policy = \"drop\" does not stand out", s.name)
		}
	}
	switch {
	case !cfg.stealth && cfg.needsHelper():
		say("the knock ports can be told from others, which answer with ICMP, and a flood of UDP to any port takes up room in the kernel's connection table: stealth = true ends both")
	case !cfg.stealth && able:
		say("the knock ports can be told from others, which answer with ICMP: stealth = true hides them, since CAP_NET_ADMIN is there")
	}
	return advice
}
