package gate

import (
	"slices"
	"sync/atomic"
)

// Load is what a service has and had, as of some moment. It names no client.
type Load struct {
	Service string
	Leases  int    // also pending ones
	Granted uint64 // grants that began or extended a lease, since the start
	Ended   []Ends // leases that have ended since the start, by reason
	Unbound uint64 // attempts to bind the service's port that failed
	Waits   string // why it stays closed even for clients with a lease; empty: it does not
}

// Ends counts leases that have ended for one reason.
type Ends struct {
	Reason string // EndReason.Code
	Count  uint64
}

// endReasons are all reasons, in the order of their codes.
var endReasons = func() (all []EndReason) {
	for r := range reasonCodes {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b EndReason) int { return slices.Compare([]byte(a.Code()), []byte(b.Code())) })
	return all
}()

// serviceCounts are the counts of a service, which are read without its lock.
type serviceCounts struct {
	granted atomic.Uint64
	ended   [16]atomic.Uint64 // at the places of endReasons
	unbound atomic.Uint64
	waits   atomic.Pointer[string] // nil: it does not
}

// note counts a change of an obstacle, and keeps why the service waits now.
func (c *serviceCounts) note(o obstacle, err error, why string) {
	if o == portUnbound && err != nil {
		c.unbound.Add(1)
	}
	c.waits.Store(&why)
}

func (c *serviceCounts) end(r EndReason, leases int) {
	if i := slices.Index(endReasons, r); i >= 0 {
		c.ended[i].Add(uint64(leases))
	}
}

// Loads returns the load of each service, in their order. It takes no lock.
func (s *Services) Loads() []Load {
	all := make([]Load, len(s.list))
	for i, service := range s.list {
		l := Load{Service: service.Name, Leases: int(service.leases.count.Load()), Granted: service.counts.granted.Load(), Unbound: service.counts.unbound.Load()}
		if why := service.counts.waits.Load(); why != nil {
			l.Waits = *why
		}
		for i, r := range endReasons {
			l.Ended = append(l.Ended, Ends{r.Code(), service.counts.ended[i].Load()})
		}
		all[i] = l
	}
	return all
}
