package nftcheck

import "fmt"

// portRange is a range of ports, both ends included.
type portRange struct{ low, high int }

// ports are disjoint ranges in ascending order. A value never changes.
type ports []portRange

// allPorts is the highest port.
const allPorts = 1<<16 - 1

func (p ports) size() (n int) {
	for _, x := range p {
		n += x.high - x.low + 1
	}
	return n
}

// and returns the ports that are in both.
func (p ports) and(q ports) (both ports) {
	for i, j := 0, 0; i < len(p) && j < len(q); {
		if low, high := max(p[i].low, q[j].low), min(p[i].high, q[j].high); low <= high {
			both = append(both, portRange{low, high})
		}
		if p[i].high < q[j].high {
			i++
		} else {
			j++
		}
	}
	return both
}

// others returns all ports that are not in p.
func (p ports) others() (rest ports) {
	next := 0
	for _, x := range p {
		if x.low > next {
			rest = append(rest, portRange{next, x.low - 1})
		}
		next = x.high + 1
	}
	if next <= allPorts {
		rest = append(rest, portRange{next, allPorts})
	}
	return rest
}

func (p ports) without(q ports) ports { return p.and(q.others()) }

func (p ports) or(q ports) ports { return p.others().and(q.others()).others() }

// one returns the port if there is exactly one.
func (p ports) one() (port int, ok bool) {
	return p.low(), len(p) == 1 && p[0].low == p[0].high
}

// low is the lowest port, and high the highest.
func (p ports) low() int {
	if len(p) == 0 {
		return 0
	}
	return p[0].low
}

func (p ports) high() int {
	if len(p) == 0 {
		return 0
	}
	return p[len(p)-1].high
}

// String names three ranges at most.
func (p ports) String() string {
	text := ""
	for i, x := range p {
		switch {
		case i == 3:
			return text + " and others"
		case i > 0:
			text += ", "
		}
		text += fmt.Sprint(x.low)
		if x.high > x.low {
			text += fmt.Sprintf("-%d", x.high)
		}
	}
	return text
}
