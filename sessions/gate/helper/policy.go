package helper

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"sallyport/verify/schedule"
)

// maxKnockTime is how long a minute's ports are open at the most: the minute
// itself, and the largest tolerance on both sides of it.
const maxKnockTime = 3 * time.Minute

// Service is what may be asked for a service.
type Service struct {
	OpenMax time.Duration // the longest time
	Anyone  bool          // to let everyone in, and nobody else
}

// Policy is what the server may ask for, by the configuration.
type Policy struct {
	Services []Service // all of them, by their numbers
	Taken    []uint16  // UDP ports of services, which take no knocks
}

// check says what of a change is not in line with the configuration.
func (p Policy) check(c Change) error {
	switch c.Kind {
	case Exit:
		return nil
	case Knock:
		if c.Number < schedule.MinPort || c.For <= 0 || c.For > maxKnockTime || slices.Contains(p.Taken, c.Number) {
			return fmt.Errorf("port %d is to take knocks for %s", c.Number, c.For)
		}
		return nil
	}
	if int(c.Number) >= len(p.Services) {
		return fmt.Errorf("there is no service %d", c.Number)
	}
	s := p.Services[c.Number]
	switch {
	case c.Kind == Open && (c.For <= 0 || c.For > s.OpenMax):
		return fmt.Errorf("service %d is to open for %s, where %s are the most", c.Number, c.For, s.OpenMax)
	case c.Kind == Open && s.Anyone == c.Address.IsValid():
		return fmt.Errorf("service %d is to open to somebody else than configured", c.Number)
	case c.Address.IsValid() && (c.Address.IsUnspecified() || c.Address.IsMulticast()):
		return errors.New("that is nobody's address")
	}
	return nil
}
