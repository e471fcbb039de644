package helper

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
	"sallyport/verify/schedule"
)

// Service is what may be asked for a service.
type Service struct {
	ID         access.ServiceID
	Name       string
	OpenMax    time.Duration // the longest time
	Anyone     bool          // to let anyone in, and no single peer
	PrefixLen6 int           // how many bits of an IPv6 address a grant lets in
}

// Policy is what the server may ask for, by the configuration.
type Policy struct {
	Services []Service // all of them
	Taken    []uint16  // UDP ports of services, which take no knocks
}

// Digest is that of a configuration, as a process has read it.
type Digest [sha256.Size]byte

// DigestOf returns the SHA-256 of a policy and what the firewall is to do, in
// their JSON form. Two processes of one program that have read the same
// configuration have the same.
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

// checkChange says what of a change is not in line with the configuration.
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
		return fmt.Errorf("%s is no address of a client", a)
	case left <= 0 || left > s.OpenMax:
		return fmt.Errorf("service %s may open for at most %s, got %s", s.Name, s.OpenMax, left)
	case s.Anyone != c.Peer.IsAnyone():
		return fmt.Errorf("service %s is not open to %s by the configuration", s.Name, c.Peer)
	case !s.Anyone && c.Peer != access.PeerOf(a, s.PrefixLen6):
		return fmt.Errorf("service %s opens to %d bits of an IPv6 address, got %s", s.Name, s.PrefixLen6, c.Peer)
	}
	return nil
}

// checkPorts says what of ports that are to take knocks is not in line with the
// configuration: only those that a schedule has drawn may, until its end of them.
func (p Policy) checkPorts(ports []uint16, lasts time.Duration, now time.Time, schedules ...Schedule) error {
	if lasts <= 0 || lasts > schedule.MaxOpen {
		return fmt.Errorf("ports may take knocks for at most %s, got %s", schedule.MaxOpen, lasts)
	}
	drawn, err := drawn(now, schedules)
	if err != nil {
		return fmt.Errorf("draw the ports: %w", err)
	}
	for _, port := range ports {
		end, ok := drawn[port]
		if !ok || port < schedule.MinPort || slices.Contains(p.Taken, port) {
			return fmt.Errorf("port %d may take no knocks", port)
		}
		if left := end.Sub(now) + slack; lasts > left {
			return fmt.Errorf("port %d may take knocks for at most %s, got %s", port, left, lasts)
		}
	}
	return nil
}

// validate says what of the policy cannot be.
func (p Policy) validate() error {
	ids := make([]access.ServiceID, len(p.Services))
	for i, s := range p.Services {
		if ids[i] = s.ID; s.PrefixLen6 != access.PrefixHost && s.PrefixLen6 != access.PrefixNetwork {
			return fmt.Errorf("service %s: expected 128 or 64 bits of an IPv6 address, got %d", s.Name, s.PrefixLen6)
		}
		if s.ID != access.ID(s.Name) {
			return errors.New("a service whose identifier is not that of its name")
		}
	}
	return access.Distinct(ids)
}
