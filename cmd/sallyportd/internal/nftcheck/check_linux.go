package nftcheck

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/gate/firewall"
	"sallyport/verify/schedule"
)

var firewallHint = fmt.Sprintf("make sure that it lets UDP to ports %d to %d in, and what the services need", schedule.MinPort, schedule.MaxPort)

// mostUnread is how much of what cannot be read is named.
const mostUnread = 5

// Check looks for nftables chains that would drop knocks on their way in, or the
// packets of services, and for rules that lead them elsewhere: it follows the
// rules as a packet from anywhere would. What it does not understand of a rule
// may be true or not. Our own table is for dropping. It needs CAP_NET_ADMIN, and without it says so. It takes some seconds at
// most.
func Check(cfg *config.Config, host config.Host) (warnings []string) {
	if names, err := os.ReadFile("/proc/net/ip_tables_names"); err == nil && len(bytes.TrimSpace(names)) > 0 {
		warnings = append(warnings, "this host has legacy iptables rules, which are not looked at: "+firewallHint+"; and that they lead no service's port elsewhere")
	}
	var found []string
	err := use(func(r *ruleset) {
		found = append(r.drops(cfg, thisHost()), r.around(cfg, host, thisHost())...)
		found = append(found, r.unreadable()...)
	})
	warnings = append(warnings, found...)
	switch {
	case errors.Is(err, errChanging):
		warnings = append(warnings, fmt.Sprintf("%v: what is said of this host's firewall may be out of date", err))
	case err != nil:
		warnings = append(warnings, fmt.Sprintf("this host's firewall cannot be read (%v; it takes CAP_NET_ADMIN): %s", err, firewallHint))
	}
	return warnings
}

// unreadable names what cannot be read.
func (r *ruleset) unreadable() (warnings []string) {
	for i, clause := range r.unread {
		if i == mostUnread {
			return append(warnings, fmt.Sprintf("this host's firewall has %d more places that cannot be read", len(r.unread)-i))
		}
		warnings = append(warnings, fmt.Sprintf("a part of this host's firewall cannot be read, and may do anything to knocks and services: %s", clause))
	}
	return warnings
}

// drops looks for chains that drop.
func (r *ruleset) drops(cfg *config.Config, a addresses) (warnings []string) {
	published := make([]bool, len(cfg.Services))
	for i := range cfg.Services {
		published[i] = cfg.Services[i].Published() || r.ledAway(&cfg.Services[i], a)
	}
	for _, c := range r.chains {
		if c.ours() {
			continue
		}
		if c.filters() && c.hook == unix.NF_INET_FORWARD {
			warnings = append(warnings, r.warnAboutForwarding(c, cfg.Services, published)...)
		}
		if !c.standsBefore() {
			continue
		}
		knocks := packet{protocol: unix.IPPROTO_UDP, low: schedule.MinPort, high: schedule.MaxPort}
		warnings = append(warnings, r.warnAbout(c, knocks, "knocks", fmt.Sprintf("udp dport %d-%d", knocks.low, knocks.high))...)
		for i := range cfg.Services {
			s := &cfg.Services[i]
			if published[i] && c.translated() {
				continue // it has another port, and maybe another host, by then
			}
			to := packet{protocol: number(s), low: int(s.Port()), high: int(s.Port())}
			warnings = append(warnings, r.warnAbout(c, to, "what is for service "+s.Name, fmt.Sprintf("%s dport %d", s.Protocol(), s.Port()))...)
		}
	}
	return warnings
}

// warnAbout says what a chain does to packets, and how to let them in.
func (r *ruleset) warnAbout(c *chain, p packet, what, match string) []string {
	way := fmt.Sprintf("nft insert rule %s %s accept", c.name, match)
	w := walk{ruleset: r, packet: p}
	switch w.enter(c) {
	case dropped:
		return []string{fmt.Sprintf("the firewall chain \"%s\" drops %s: %s", c.name, what, way)}
	case someDropped:
		return []string{fmt.Sprintf("the firewall chain \"%s\" drops some of %s: %s", c.name, what, way)}
	case undecided:
		if c.drops {
			return []string{fmt.Sprintf("the firewall chain \"%s\" drops by default, and no rule plainly accepts %s: %s", c.name, what, way)}
		}
	}
	return nil
}

// warnAboutForwarding says what a chain does to what is led elsewhere for a
// service: to a port and a host that only the rules of translation know.
func (r *ruleset) warnAboutForwarding(c *chain, services []config.Service, published []bool) (warnings []string) {
	for i := range services {
		s := &services[i]
		if !published[i] {
			continue
		}
		w := walk{ruleset: r, packet: packet{protocol: number(s), low: 1, high: 1<<16 - 1, somewhere: true}}
		switch f := w.enter(c); {
		case f == dropped && w.maybeAccepted:
			warnings = append(warnings, fmt.Sprintf("the firewall chain \"%s\" drops what is forwarded, but for what its earlier rules accept: make sure that they accept what is for service %s", c.name, s.Name))
		case f == dropped:
			warnings = append(warnings, fmt.Sprintf("the firewall chain \"%s\" drops all %s that is forwarded, and so what is for service %s: let a rule before that accept it", c.name, s.Protocol(), s.Name))
		case f == undecided && c.drops:
			warnings = append(warnings, fmt.Sprintf("the firewall chain \"%s\" drops by default what is forwarded: make sure that a rule of it accepts what is for service %s, as Docker's do for the ports that it publishes", c.name, s.Name))
		}
	}
	return warnings
}

// ledAway reports whether all that comes for a service over IPv4, or all over
// IPv6, is led to another host.
func (r *ruleset) ledAway(s *config.Service, a addresses) bool {
	v4, v6 := s.Addresses().Families()
	stays := map[byte]bool{}
	packets := a.packets(packet{protocol: number(s), low: int(s.Port()), high: int(s.Port())}, s.Host(), v4, v6)
	for _, p := range packets {
		leads := r.leadsOf(p, atPrerouting)
		n := len(leads)
		stays[p.family] = stays[p.family] || n == 0 || leads[n-1].m != always || leads[n-1].stays(a)
	}
	return slices.ContainsFunc(packets, func(p packet) bool { return !stays[p.family] })
}

// ours reports whether a chain is of a table of this program.
func (c *chain) ours() bool {
	return c.family == unix.NFPROTO_INET && c.table == firewall.Name
}

// standsBefore reports whether a chain stands in the way of what comes in.
func (c *chain) standsBefore() bool {
	return c.filters() && (c.hook == unix.NF_INET_LOCAL_IN || c.hook == unix.NF_INET_PRE_ROUTING) || c.ingress()
}

// priorityOfTranslation is that of destinations.
const priorityOfTranslation = -100

// ingress reports whether packets come to a chain as a device receives them,
// before everything else.
func (c *chain) ingress() bool {
	return c.base && (c.family == unix.NFPROTO_NETDEV && c.hook == netdevIngress || c.family == unix.NFPROTO_INET && c.hook == inetIngress)
}

// Hooks that x/sys/unix does not name.
const (
	netdevIngress = 0 // NF_NETDEV_INGRESS
	inetIngress   = 5 // NF_INET_INGRESS
)

// translated reports whether a chain comes after the translation of
// destinations.
func (c *chain) translated() bool {
	return !c.ingress() && (c.hook != unix.NF_INET_PRE_ROUTING || c.priority >= priorityOfTranslation)
}

// filters reports whether a chain may drop what comes to it by itself.
func (c *chain) filters() bool { return c.base && c.kind == "filter" && c.routed() }

// routed reports whether a chain sees IPv4 or IPv6.
func (c *chain) routed() bool {
	return c.family == unix.NFPROTO_INET || c.family == unix.NFPROTO_IPV4 || c.family == unix.NFPROTO_IPV6
}

// number is that of the service's protocol, as packets have it.
func number(s *config.Service) byte {
	if s.UDP {
		return unix.IPPROTO_UDP
	}
	return unix.IPPROTO_TCP
}
