package split

import (
	"math"
	"net/netip"
	"slices"
	"strings"

	"sallyport/sessions"
)

// with returns the value with a part that a gateway has of an attempt. If the gateway has
// a part of it already, the two become one. Changed: it is another value; a part that has
// changed has no tag. Held is false if the attempt is older than those that the value has
// room for.
func (v value) with(of name, p part) (next value, changed, held bool) {
	p.tag = [len(p.tag)]byte{}
	at, ok := v.find(of)
	if !ok {
		if len(v.attempts) == maxAttempts && at == 0 {
			return v, false, false
		}
		next.attempts = slices.Insert(slices.Clone(v.attempts), at, attempt{of, []part{p}})
		if len(next.attempts) > maxAttempts {
			next.attempts = next.attempts[1:]
		}
		return next, true, true
	}
	before := v.attempts[at].parts
	i, found := slices.BinarySearchFunc(before, p.gateway, func(p part, gateway string) int { return strings.Compare(p.gateway, gateway) })
	switch {
	case found:
		merged := before[i].merge(p)
		if merged == before[i] {
			return v, false, true
		}
		p = merged
	case len(before) == maxParts:
		return v, false, false
	}
	next.attempts = slices.Clone(v.attempts)
	parts := slices.Clone(before)
	if found {
		parts[i] = p
	} else {
		parts = slices.Insert(parts, i, p)
	}
	next.attempts[at].parts = parts
	return next, true, true
}

// merge returns both parts of a gateway as one. If the second adds nothing, that is the
// first, with its tag.
func (p part) merge(other part) part {
	knocks := p.knocks.or(other.knocks)
	differ := max(p.differ, other.differ, sessions.Differ(p.address, other.address))
	if differ == math.MaxUint8 {
		return p // of another family: what it adds can never be granted with the rest
	}
	if knocks == p.knocks && differ == p.differ {
		return p
	}
	return part{gateway: p.gateway, knocks: knocks, differ: differ, address: p.address}
}

// source is where the knocks of an attempt come from.
type source struct {
	address netip.Addr // of a knock that has come to the gateway
	differ  uint8      // in how many low bits the sources differ
	other   netip.Addr // one that differs most
}

// complete reports whether each knock of an attempt is in one of its parts, and where they
// come from, for a gateway that has a part.
func (v value) complete(of name, gateway string) (s source, ok bool) {
	at, found := v.find(of)
	if !found {
		return s, false
	}
	var knocks mask
	for _, p := range v.attempts[at].parts {
		knocks = knocks.or(p.knocks)
		if p.gateway == gateway {
			s.address, s.other = p.address, p.address
		}
	}
	if knocks != all(of.n) || !s.address.IsValid() {
		return s, false
	}
	for _, p := range v.attempts[at].parts {
		if d := max(p.differ, sessions.Differ(s.address, p.address)); d > s.differ {
			s.differ, s.other = d, p.address
		}
	}
	return s, true
}
