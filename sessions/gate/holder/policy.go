package holder

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
	"sallyport/verify/schedule"
)

// Service limits the requests for a service.
type Service struct {
	ID      access.ServiceID
	Name    string
	OpenMax time.Duration // the longest time
	Anyone  bool          // open to anyone, and to no single peer
	// AnyAddress: a grant may be for single peers or for anyone, because the server requires
	// each connection to prove itself.
	AnyAddress bool `json:",omitempty"`
	PrefixLen4 int  `json:",omitempty"` // number of bits of an IPv4 address that a grant admits; 0: 32
	PrefixLen6 int  // the same of an IPv6 address
	// RequireISN: each grant has an initial sequence number. Without it, none has.
	RequireISN bool `json:",omitempty"`
	// Drawn are the ports that may be drawn for a service whose port rotates: each
	// grant opens one of them. Empty: the port is fixed, and no grant has a drawn one.
	Drawn []access.Ports `json:",omitempty"`
}

// Policy limits the server's requests, by the configuration.
type Policy struct {
	Services []Service      // all of them
	Taken    []access.Ports // UDP ports of services, which are never knock ports
	// Shield limits the requests for the shield; nil: the configuration has none.
	Shield *ShieldPolicy `json:",omitempty"`
}

// ShieldPolicy limits the requests for the shield, the program at the network driver.
type ShieldPolicy struct {
	// Interfaces get the program; empty: those with an address at which the server
	// receives and other hosts reach this one.
	Interfaces []string `json:",omitempty"`
	// Listen are the addresses at which the server may receive; empty: all of this host.
	Listen []netip.Addr `json:",omitempty"`
}

// Digest is the digest of a configuration, as a process has read it.
type Digest [sha256.Size]byte

// DigestOf returns the SHA-256 of a policy and a firewall configuration, in
// their JSON form. It is equal for two processes of one program that have read
// the same configuration.
func DigestOf(p Policy, f firewall.Config) Digest {
	text, err := json.Marshal(struct {
		Policy   Policy
		Firewall firewall.Config
	}{p, f})
	if err != nil {
		panic(err) // no field can fail
	}
	return sha256.Sum256(text)
}

// checkChange returns an error if the configuration does not allow a change.
func (p Policy) checkChange(c access.Change, now time.Time) error {
	i := slices.IndexFunc(p.Services, func(s Service) bool { return s.ID == c.Service })
	if i < 0 {
		return fmt.Errorf("no service has the identifier %s", c.Service)
	}
	s := p.Services[i]
	a := c.Peer.Prefix.Addr()
	switch left := c.Until.Sub(now); {
	case c.Revokes():
		return nil
	case !c.Peer.IsAnyone() && (a.IsUnspecified() && c.Peer.Prefix.IsSingleIP() || a.IsMulticast()):
		return fmt.Errorf("expected the address of a client, got %s", a)
	case left <= 0 || left > s.OpenMax:
		return fmt.Errorf("service %s may open for at most %s, got %s", s.Name, s.OpenMax, left)
	case s.Anyone != c.Peer.IsAnyone() && !(s.AnyAddress && c.Peer.IsAnyone()):
		return fmt.Errorf("the configuration does not open the service %s to %s", s.Name, c.Peer)
	case s.RequireISN != (c.Peer.ISN != 0):
		return fmt.Errorf("service %s opens only to a grant with an initial sequence number: %t", s.Name, s.RequireISN)
	case c.Peer.Port != 0 && len(s.Drawn) == 0:
		return fmt.Errorf("service %s has a fixed port, got the drawn port %d", s.Name, c.Peer.Port)
	case len(s.Drawn) > 0 && !access.AnyHas(s.Drawn, c.Peer.Port):
		return fmt.Errorf("service %s opens only ports that may be drawn for it, got %d", s.Name, c.Peer.Port)
	case !c.Peer.IsAnyone() && c.Peer.Source() != access.PeerIn(a, s.PrefixLen4, s.PrefixLen6):
		return fmt.Errorf("service %s opens to %d bits of an IPv4 address, and %d of IPv6, got %s",
			s.Name, cmp.Or(s.PrefixLen4, access.PrefixHost4), s.PrefixLen6, c.Peer)
	}
	return nil
}

// TraceTime is for how long at most a port of a minute that is not live may be open: a
// trace listens there, and renews it.
const TraceTime = 30 * time.Second

// checkPorts returns an error if the configuration does not allow opening ports
// for knocks: a schedule must have drawn each, and its time must not end
// earlier. For up to TraceTime, it may have drawn it for a minute around.
func (p Policy) checkPorts(ports []uint16, lasts time.Duration, now time.Time, schedules ...Schedule) error {
	if lasts <= 0 || lasts > schedule.MaxOpen {
		return fmt.Errorf("knock ports may open for at most %s, got %s", schedule.MaxOpen, lasts)
	}
	drawn, err := drawn(now, schedules)
	if err != nil {
		return fmt.Errorf("draw the ports: %w", err)
	}
	var around map[uint16]bool
	for _, port := range ports {
		end, ok := drawn[port]
		if (!ok || lasts > end.Sub(now)+slack) && lasts <= TraceTime {
			if around == nil {
				if around, err = drawnAround(now, schedules); err != nil {
					return fmt.Errorf("draw the ports of other minutes: %w", err)
				}
			}
			if around[port] {
				end, ok = now.Add(TraceTime), true
			}
		}
		if !ok || port < schedule.MinPort || access.AnyHas(p.Taken, port) {
			return fmt.Errorf("port %d is not a knock port now", port)
		}
		if left := end.Sub(now) + slack; lasts > left {
			return fmt.Errorf("the knock port %d may open for at most %s, got %s", port, left, lasts)
		}
	}
	return nil
}

// checkShield returns an error if the configuration does not allow a shield.
func (p Policy) checkShield(r ShieldRequest) error {
	if p.Shield == nil {
		return errors.New("the configuration has no shield")
	}
	if len(p.Shield.Listen) == 0 {
		return nil
	}
	if len(r.Listen) == 0 {
		return errors.New("the configuration does not allow the shield at all addresses")
	}
	for _, a := range r.Listen {
		if !slices.Contains(p.Shield.Listen, a) {
			return fmt.Errorf("the configuration does not allow the shield at %s", a)
		}
	}
	return nil
}

// validate returns an error if the policy is invalid.
func (p Policy) validate() error {
	ids := make([]access.ServiceID, len(p.Services))
	for i, s := range p.Services {
		if s.RequireISN && (s.Anyone || s.PrefixLen6 != access.PrefixHost || cmp.Or(s.PrefixLen4, access.PrefixHost4) != access.PrefixHost4) {
			return fmt.Errorf("service %s: an initial sequence number is for one address", s.Name)
		}
		if s.AnyAddress && (s.RequireISN || len(s.Drawn) > 0) {
			return fmt.Errorf("service %s: a grant for any address has no initial sequence number and no drawn port", s.Name)
		}
		if (s.RequireISN || s.Anyone) && len(s.Drawn) > 0 {
			return fmt.Errorf("service %s: a drawn port is for one client, without an initial sequence number", s.Name)
		}
		for _, p := range s.Drawn {
			if !p.IsValid() {
				return fmt.Errorf("service %s: expected a range of ports to draw, got %s", s.Name, p)
			}
		}
		if ids[i] = s.ID; s.PrefixLen6 != access.PrefixHost && s.PrefixLen6 != access.PrefixNetwork {
			return fmt.Errorf("service %s: expected 128 or 64 bits of an IPv6 address, got %d", s.Name, s.PrefixLen6)
		}
		if n := cmp.Or(s.PrefixLen4, access.PrefixHost4); n < access.PrefixMin4 || n > access.PrefixHost4 {
			return fmt.Errorf("service %s: expected 16 to 32 bits of an IPv4 address, got %d", s.Name, n)
		}
		if s.ID != access.ID(s.Name) {
			return fmt.Errorf("service %s: expected the identifier %s, got %s", s.Name, access.ID(s.Name), s.ID)
		}
	}
	return access.Distinct(ids)
}
