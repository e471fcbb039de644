package main

import (
	"fmt"
	"math"
	"net"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/verify/schedule"
)

// links are the network interfaces of this host.
type links struct {
	names    []string // nil: unknown
	toAnyone []string // those of default routes
}

// hostLinks reads the interfaces and the routes.
func hostLinks() (l links) {
	all, err := net.Interfaces()
	if err != nil {
		return links{}
	}
	byIndex := map[int]string{}
	for _, i := range all {
		l.names, byIndex[i.Index] = append(l.names, i.Name), i.Name
	}
	routes, _ := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	for _, r := range routes {
		if ones := 0; r.Dst != nil {
			if ones, _ = r.Dst.Mask.Size(); ones > 0 {
				continue
			}
		}
		if r.Type != unix.RTN_UNICAST {
			continue
		}
		l.toAnyone = append(l.toAnyone, byIndex[r.LinkIndex])
		for _, hop := range r.MultiPath {
			l.toAnyone = append(l.toAnyone, byIndex[hop.LinkIndex])
		}
	}
	return l
}

// checkTrusted warns about interfaces in "allow" that do not exist, or on which
// strangers' packets arrive.
func checkTrusted(cfg *config.Config, host links) (found []finding) {
	for i := range cfg.Services {
		s := &cfg.Services[i]
		for _, name := range s.Trusted().Interfaces {
			switch {
			case slices.Contains(host.toAnyone, name):
				found = append(found, warn("allow-default-route", "name the networks of the peers instead",
					"service %s: allow has the interface %s, which a default route of this host leads to: every stranger whose packets arrive there gets in without a knock", s.Name, name))
			case host.names != nil && !slices.Contains(host.names, name):
				found = append(found, warn("allow-interface-missing", "",
					"service %s: allow has the interface %s, which this host does not have (yet)", s.Name, name))
			}
		}
	}
	return found
}

// lostShare is the share of minutes with a lost knock from which "check" warns.
const lostShare = 0.01

// checkLostKnocks warns if many knock ports belong to UDP services: a knock to such a
// port is lost, and so is the sequence.
func checkLostKnocks(cfg *config.Config) []finding {
	ports := float64(schedule.MaxPort - schedule.MinPort + 1)
	lost := 1 - math.Pow(1-float64(cfg.LostKnockPorts())/ports, float64(cfg.Ports))
	if lost < lostShare {
		return nil
	}
	effect := fmt.Sprintf("about %.0f %% of all sequences fail", 100*lost)
	switch {
	case lost < 0.5:
		effect += ", and succeed in the next minute"
	case lost > 0.995:
		effect = "hardly any sequence arrives, and clients do not get in"
	}
	return []finding{warn("knock-ports-taken", "use fewer UDP ports, or ports below "+fmt.Sprint(schedule.MinPort),
		"UDP services have %d of the ports that knocks go to: %s", cfg.LostKnockPorts(), effect)}
}
