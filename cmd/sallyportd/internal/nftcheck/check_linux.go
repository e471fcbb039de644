package nftcheck

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/gate/firewall"
	"sallyport/verify/schedule"
)

var firewallHint = fmt.Sprintf("make sure that it accepts UDP to ports %d to %d, and the packets for the services", schedule.MinPort, schedule.MaxPort)

// maxUnread is how many of the parts that cannot be read get a warning each.
const maxUnread = 5

// Warning is a likely mistake in the rules of other programs.
type Warning struct {
	Text string
	Hint string // what to do; may be empty
}

// Check looks for chains that would drop knocks on their way in, or packets for
// services, and for rules that redirect them: it follows the rules as a packet
// from any address would. A part of a rule that it does not understand may match
// or not. It passes over our own table, which is meant to drop, except for the
// chains of the operator in it. It requires CAP_NET_ADMIN, and warns without it. It takes some seconds at most.
func Check(cfg *config.Config, host config.Host) (warnings []Warning) {
	err := use(func(r *ruleset) {
		a := thisHost()
		warnings = r.drops(cfg, cfg.NeedsFirewall(host) != "", a)
		warnings = append(warnings, r.jumps(cfg, a)...)
		warnings = append(warnings, withoutHint(r.around(cfg, host, a))...)
		warnings = append(warnings, withoutHint(r.unreadable())...)
	})
	switch {
	case errors.Is(err, errChanging):
		warnings = append(warnings, Warning{Text: fmt.Sprintf("%v: the warnings about this host's firewall may be out of date", err)})
	case err != nil:
		warnings = append(warnings, Warning{fmt.Sprintf("this host's firewall cannot be read (%v; reading it requires CAP_NET_ADMIN)", err), firewallHint})
	}
	return warnings
}

func withoutHint(texts []string) (list []Warning) {
	for _, text := range texts {
		list = append(list, Warning{Text: text})
	}
	return list
}

// unreadable warns of the parts that cannot be read.
func (r *ruleset) unreadable() (warnings []string) {
	for i, clause := range r.unread {
		if i == maxUnread && len(r.unread) == i+1 {
			return append(warnings, "one more part of this host's firewall cannot be read")
		}
		if i == maxUnread {
			return append(warnings, fmt.Sprintf("%d more parts of this host's firewall cannot be read", len(r.unread)-i))
		}
		warnings = append(warnings, fmt.Sprintf("a part of this host's firewall cannot be read, and may drop or redirect knocks and packets for services: %s", clause))
	}
	return warnings
}

// drops warns of chains that drop packets. Guarded: there is a table of ours.
func (r *ruleset) drops(cfg *config.Config, guarded bool, a addresses) (warnings []Warning) {
	published := make([]bool, len(cfg.Services))
	for i := range cfg.Services {
		published[i] = cfg.Services[i].Published() || r.redirectedAway(&cfg.Services[i], a)
	}
	subjects := subjectsOf(cfg, published, guarded, a)
	for _, c := range r.chains {
		if c.ours() {
			continue
		}
		if c.filters() && c.hook == unix.NF_INET_FORWARD {
			warnings = append(warnings, r.warnAboutForwarding(c, cfg.Services, published)...)
		}
		if !c.filtersInput() {
			continue
		}
		for _, s := range subjects {
			if s.published && c.translated() {
				continue // it has another port, and maybe another host, by then
			}
			if !c.sees(s.stage) {
				continue
			}
			warnings = r.warnAbout(warnings, c, s)
		}
	}
	return warnings
}

// warnAboutForwarding warns if a chain drops packets that are forwarded for a
// service: to a port and a host that only the rules of translation know.
func (r *ruleset) warnAboutForwarding(c *chain, services []config.Service, published []bool) (warnings []Warning) {
	for i := range services {
		s := &services[i]
		if !published[i] {
			continue
		}
		w := walk{ruleset: r, packet: packet{protocol: number(s), low: 1, high: allPorts, somewhere: true}}
		w.enter(c, w.packet.ports())
		policy, rule, except := false, false, false
		for _, d := range w.drops {
			sure := d.sure || d.except != ""
			policy, rule, except = policy || d.rule == "" && sure, rule || d.rule != "" && sure, except || d.except != ""
		}
		switch {
		case rule && except:
			warnings = append(warnings, Warning{fmt.Sprintf("the firewall chain \"%s\" drops forwarded packets, except those that its earlier rules accept", c.name),
				"make sure that these rules accept packets for service " + s.Name})
		case rule:
			warnings = append(warnings, Warning{fmt.Sprintf("the firewall chain \"%s\" drops all forwarded %s packets, also those for service %s", c.name, s.Protocol(), s.Name),
				"add a rule before it that accepts them"})
		case policy:
			warnings = append(warnings, Warning{fmt.Sprintf("the firewall chain \"%s\" drops forwarded packets by default", c.name),
				fmt.Sprintf("make sure that one of its rules accepts packets for service %s, as Docker's rules do for published ports", s.Name)})
		}
	}
	return warnings
}

// redirectedAway reports whether all packets for a service over IPv4, or all over
// IPv6, are redirected to another host.
func (r *ruleset) redirectedAway(s *config.Service, a addresses) bool {
	if s.Rotates() {
		return false // our table redirects to this host
	}
	stays := map[byte]bool{}
	var packets []packet
	for _, at := range s.At() {
		p, v4, v6 := packetTo(s, at)
		packets = append(packets, a.packets(p, at.Address, v4, v6)...)
	}
	for _, p := range packets {
		redirects := r.redirectsOf(p, atPrerouting)
		n := len(redirects)
		stays[p.family] = stays[p.family] || n == 0 || redirects[n-1].m != always || redirects[n-1].stays(a)
	}
	return slices.ContainsFunc(packets, func(p packet) bool { return !stays[p.family] })
}

// ours reports whether a chain belongs to this program's table.
func (c *chain) ours() bool {
	return c.family == unix.NFPROTO_INET && c.table == firewall.Name
}

// filtersInput reports whether a chain may drop packets on their way in.
func (c *chain) filtersInput() bool {
	return c.filters() && (c.hook == unix.NF_INET_LOCAL_IN || c.hook == unix.NF_INET_PRE_ROUTING) || c.ingress()
}

// priorityOfTranslation is the priority at which destinations are translated.
const priorityOfTranslation = -100

// ingress reports whether packets reach a chain as a device receives them,
// before all other chains.
func (c *chain) ingress() bool {
	if !c.base {
		return false
	}
	switch c.family {
	case unix.NFPROTO_NETDEV:
		return c.hook == netdevIngress
	case unix.NFPROTO_INET:
		return c.hook == inetIngress
	default:
		return false
	}
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

// filters reports whether packets reach a chain without a jump, and it may drop
// them.
func (c *chain) filters() bool { return c.base && c.kind == "filter" && c.routed() }

// routed reports whether a chain sees IPv4 or IPv6.
func (c *chain) routed() bool {
	return c.family == unix.NFPROTO_INET || c.family == unix.NFPROTO_IPV4 || c.family == unix.NFPROTO_IPV6
}

// number is the IP protocol number of a service.
func number(s *config.Service) byte {
	if s.UDP {
		return unix.IPPROTO_UDP
	}
	return unix.IPPROTO_TCP
}
