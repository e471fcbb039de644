package nftcheck

import (
	"bytes"
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

// maxBranches is how many elements of a map are followed if it is not known
// which one applies.
const maxBranches = 128

// branch is one possible result of a lookup.
type branch struct {
	state
	verdict *verdict // of a map to verdicts
}

// lookup reads "lookup": a set that must contain the loaded value, or a map that
// replaces it. If the value is not known, there are several branches; with none,
// the rule does not apply.
func (r *ruleset) lookup(c *chain, s state, a attributes) []branch {
	isMap, inverted := a.has(unix.NFTA_LOOKUP_DREG), a.number(unix.NFTA_LOOKUP_FLAGS)&unix.NFT_LOOKUP_F_INV != 0
	called := a.text(unix.NFTA_LOOKUP_SET)
	op, shown := "", "@"+called
	if len(called) > 2 && called[:2] == "__" {
		shown = "{ … }"
	}
	if inverted {
		op = "!="
	}
	if isMap {
		shown = "map " + shown
	}
	source := slices.ContainsFunc(s.labels, isSource)
	s.addText(op, shown)
	set, ok := r.setOf(c, called)
	if !ok {
		return unknown(s, a)
	}
	if source && set.has(unix.NFT_SET_EVAL) {
		return unknown(s, a) // rules add the sources that send much, such as knocks
	}
	register := a.number(unix.NFTA_LOOKUP_SREG)
	var matches []branch
	var all bool // every packet matches
	switch got, known, whole := s.get(register, set.keyLen); {
	case s.holdsPort(register, set.keyLen):
		matches, all = set.byPort(s, a)
	case got == nil:
		return unknown(s, a)
	case whole:
		e, found := set.element(got)
		if !found {
			e, found = set.catchAll()
		}
		if found {
			matches, all = []branch{set.take(s, a, e)}, true
		}
	default:
		matches = set.compatible(s, a, got, known, source)
	}
	if len(matches) > maxBranches {
		return unknown(s, a)
	}
	if isMap {
		return matches
	}
	switch {
	case inverted && all, !inverted && len(matches) == 0:
		return nil
	case inverted && len(matches) == 0, !inverted && all:
		return []branch{{state: s}}
	case inverted && !source && !slices.ContainsFunc(matches, func(b branch) bool { return b.m != s.m }):
		for _, x := range matches {
			s.restrict(x.ports.others())
		}
		return []branch{{state: s}}
	case inverted && source:
		s.worse(mostly)
		return []branch{{state: s}}
	case inverted:
		s.worse(maybe)
		return []branch{{state: s}}
	}
	return matches
}

// unknown is the result of a lookup that may do anything.
func unknown(s state, a attributes) []branch {
	s.worse(maybe)
	if a.has(unix.NFTA_LOOKUP_DREG) {
		s.forget()
		if a.number(unix.NFTA_LOOKUP_DREG) == unix.NFT_REG_VERDICT {
			return []branch{{s, &verdict{code: verdictQueue}}}
		}
	}
	return []branch{{state: s}}
}

// take returns the branch of an element, with the value that it maps to.
func (set *set) take(s state, a attributes, e element) branch {
	b := branch{state: s, verdict: e.verdict}
	b.text = slices.Clone(s.text)
	if a.has(unix.NFTA_LOOKUP_DREG) && e.verdict == nil {
		b.set(a.number(unix.NFTA_LOOKUP_DREG), e.data, mask(len(e.data)))
	}
	return b
}

// element returns the one for a key.
func (set *set) element(key []byte) (e element, found bool) {
	if set.intervals() {
		for _, x := range set.elements {
			if !x.catchAll && bytes.Compare(x.key, key) <= 0 {
				e, found = x, !x.ends
			}
		}
		return e, found
	}
	for _, x := range set.elements {
		if !x.catchAll && set.covers(x, key, mask(len(key))) {
			return x, true
		}
	}
	return e, false
}

// covers reports whether an element may match a key of which some bytes are
// known. It is not for sets whose elements are beginnings and ends.
func (set *set) covers(e element, key []byte, known uint64) bool {
	if e.end == nil {
		return !differ(key, e.key, known)
	}
	at := 0
	for _, n := range set.fields {
		if at+n > len(key) {
			return true
		}
		if part := mask(n) << at; known&part == part &&
			(bytes.Compare(key[at:at+n], e.key[at:at+n]) < 0 || bytes.Compare(key[at:at+n], e.end[at:at+n]) > 0) {
			return false
		}
		at += (n + registerWord - 1) / registerWord * registerWord
	}
	return true
}

// compatible returns the branches if only a part of the key is known.
// Source: a part is the source address.
func (set *set) compatible(s state, a attributes, key []byte, known uint64, source bool) (ways []branch) {
	at, _ := offset(a.number(unix.NFTA_LOOKUP_SREG))
	port := s.port - at // in the key
	for _, e := range set.elements {
		if e.ends || !e.catchAll && !set.intervals() && !set.covers(e, key, known) {
			continue
		}
		way := set.take(s, a, e)
		switch {
		case source && !e.catchAll:
			way.worse(rarely)
		case source:
			way.worse(mostly)
		case set.onlyPortOpen(port, known):
			// The rest of the key is known, and matches.
		default:
			way.worse(maybe)
		}
		if s.port >= 0 && port >= 0 && port+2 <= len(e.key) && !set.intervals() {
			last := e.key
			if e.end != nil {
				last = e.end
			}
			way.narrow(bigEndian(e.key[port:]), bigEndian(last[port:]))
		}
		if way.m != never {
			ways = append(ways, way)
		}
		if len(ways) > maxBranches || !a.has(unix.NFTA_LOOKUP_DREG) && s.port < 0 {
			break // one is enough
		}
	}
	return ways
}

// onlyPortOpen reports whether all of a key is known, except for the port.
func (set *set) onlyPortOpen(port int, known uint64) bool {
	return port >= 0 && port+2 <= set.keyLen && !set.intervals() && known|3<<port == mask(set.keyLen)
}

// byPort returns the branches for several ports.
func (set *set) byPort(s state, a attributes) (ways []branch, all bool) {
	of := set.ranges()
	if !a.has(unix.NFTA_LOOKUP_DREG) {
		of = merged(of)
	}
	var covered ports
	for _, x := range of {
		span := ports{{x.low, x.high}}
		if len(s.ports.and(span)) == 0 {
			continue
		}
		covered = covered.or(span)
		way := set.take(s, a, x.element)
		way.restrict(span)
		if len(ways) <= maxBranches {
			ways = append(ways, way)
		}
	}
	all = len(s.ports.without(covered)) == 0
	if e, ok := set.catchAll(); ok && !all {
		way := set.take(s, a, e)
		way.restrict(covered.others())
		ways, all = append(ways, way), true
	}
	return ways, all
}

// merged joins ranges that touch.
func merged(of []elementRange) (out []elementRange) {
	slices.SortFunc(of, func(a, b elementRange) int { return a.low - b.low })
	for _, x := range of {
		if last := len(out) - 1; last >= 0 && x.low <= out[last].high+1 {
			out[last].high = max(out[last].high, x.high)
			continue
		}
		out = append(out, x)
	}
	return out
}

// nativeUint32 reads a number in the byte order of this machine.
func nativeUint32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}
