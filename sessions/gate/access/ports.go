package access

import (
	"fmt"
	"slices"
)

// Ports is a range of ports, from the first to the last.
type Ports struct{ First, Last uint16 }

// Has reports whether a port is in the range.
func (p Ports) Has(port uint16) bool { return p.First <= port && port <= p.Last }

// Overlaps reports whether the ranges share a port.
func (p Ports) Overlaps(other Ports) bool { return p.First <= other.Last && other.First <= p.Last }

// IsValid reports whether the range has a port, and not the port 0.
func (p Ports) IsValid() bool { return p.First > 0 && p.First <= p.Last }

// Len returns the number of ports.
func (p Ports) Len() int { return int(p.Last) - int(p.First) + 1 }

// String returns "80", or "60000-61000".
func (p Ports) String() string {
	if p.First == p.Last {
		return fmt.Sprint(p.First)
	}
	return fmt.Sprintf("%d-%d", p.First, p.Last)
}

// AnyHas reports whether one of the ranges has a port.
func AnyHas(all []Ports, port uint16) bool {
	return slices.ContainsFunc(all, func(p Ports) bool { return p.Has(port) })
}
