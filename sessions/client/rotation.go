package client

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"sallyport/verify/schedule"
)

// A service whose port rotates listens at the first of a minute's candidates that is
// free on the server's host. Another program may have one of them: the server skips it,
// and the client must not take that program for the service. So the client uses only a
// port that did not accept connections before the knock, and accepts them after it. The
// port of a lease in force accepts them before, too: the device remembers the ports
// that it saw open (seen.go).

const (
	// otherCandidates is how long the client watches at the first candidate alone.
	otherCandidates = 300 * time.Millisecond
	// openBeforeTime is how long it watches if the first candidate accepted connections
	// before the knock: the service is at the next one, or that was a lease.
	openBeforeTime = time.Second
	// dialBefore is how long the client waits for an answer of a candidate before the
	// knock, on systems on which it cannot begin a connection without waiting.
	dialBefore = 250 * time.Millisecond
)

// Rotation is how the port of a service is drawn.
type Rotation struct {
	Service string // its name in the server's configuration
	schedule.Drawn
}

// Candidates returns the ports at which the service may be after a sequence of a
// minute, in the order in which the server tries them. The profile must have a Rotation.
func (p Profile) Candidates(m schedule.Minute) ([]uint16, error) {
	if p.Rotation == nil {
		return nil, errors.New("the port of the service does not rotate")
	}
	drawn := p.Rotation.Drawn
	if s, err := ParseService(p.Service); err == nil && s.UDP {
		if drawn, err = drawn.WithoutKnocks(p.Generator, p.PortSecret, m, p.Ports); err != nil {
			return nil, err
		}
	}
	ports, err := drawn.Ports(p.PortSecret, p.Rotation.Service, m)
	return ports[:], err
}

// candidate is a port at which the service may be.
type candidate struct {
	at     netip.AddrPort
	early  *earlyConn // nil: before is known, or the client does not check
	before before
	seen   bool // this device has seen the service there, in this minute
}

// state returns the state of the port before the first knock of its minute.
func (c *candidate) state() before {
	if c.early == nil {
		return c.before
	}
	return c.early.answer()
}

// taken reports whether the port accepted connections before the knock, and not
// because of a lease that this device knows.
func (c *candidate) taken() bool {
	s := c.state()
	return !c.seen && (s == beforeOpen || s == beforeClosed)
}

// drawTarget returns a target with the port of the service in a minute.
func (k *knocking) drawTarget(t target, m schedule.Minute) (target, []uint16, error) {
	if !t.rotates {
		return t, nil, nil
	}
	ports, err := k.cfg.Profile.Candidates(m)
	if err == nil {
		t.service = netip.AddrPortFrom(t.service.Addr(), ports[0])
	}
	return t, ports, err
}

// candidates begins a connection to each port of the service, unless the client has
// done so before an earlier knock.
func (k *knocking) candidates(t target, ports []uint16, m schedule.Minute) (list []*candidate) {
	if !t.watched() {
		return nil
	}
	seen := k.cfg.Nonces.seen(k.cfg.Profile.Rotation.Service, m)
	var unknown []*candidate
	for _, port := range ports {
		c := &candidate{at: netip.AddrPortFrom(t.service.Addr(), port)}
		c.seen = seen[c.at]
		if b, ok := k.beforeOf[c.at]; ok {
			c.before = b
		} else if c.early = beginEarly(c.at); c.early == nil {
			unknown = append(unknown, c)
		}
		list = append(list, c)
	}
	if !canBeginEarly {
		dialAll(unknown)
	}
	return list
}

// dialAll finds out what is at the ports by whole connections.
func dialAll(list []*candidate) {
	done := make(chan struct{})
	for _, c := range list {
		go func() {
			defer func() { done <- struct{}{} }()
			c.before = beforeSilent
			if conn, err := net.DialTimeout("tcp", c.at.String(), dialBefore); err == nil {
				c.before = beforeOpen
				conn.Close()
			} else if refused(err) {
				c.before = beforeRefused
			}
		}()
	}
	for range list {
		<-done
	}
}

// settleCandidates records the state of the ports before the knock, for later attempts.
func (k *knocking) settleCandidates(list []*candidate) {
	if k.beforeOf == nil {
		k.beforeOf = map[netip.AddrPort]before{}
	}
	for _, c := range list {
		k.beforeOf[c.at] = c.state()
		c.early.close()
	}
}

// errTaken is the error of ports that accepted connections before the knock.
var errTaken = errors.New("the port accepted connections before the knock, so another program may have it")
