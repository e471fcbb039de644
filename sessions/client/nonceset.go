package client

import "slices"

// nonceSet is a set of used nonces: spans in order, with unused nonces between them.
type nonceSet []span

// span is the nonces from a first one to the one before end.
type span struct{ from, end uint64 }

// maxSpans bounds the file of a client whose attempts fail for a long time. After a year
// of them, a span is some days long in seconds, which is less than wire.MaxAhead.
const maxSpans = 256

// free returns the lowest nonce, from the given one, at which n unused nonces begin.
func (s nonceSet) free(from uint64, n int) uint64 {
	for _, u := range s {
		if from+uint64(n) <= u.from {
			break
		}
		from = max(from, u.end)
	}
	return from
}

// after returns the end of the first span that begins above a nonce; if there is none, a
// number above all nonces.
func (s nonceSet) after(n uint64) uint64 {
	for _, u := range s {
		if u.from > n {
			return u.end
		}
	}
	return nonceCount
}

// add returns the set with the nonces from a first one to the one before end. If there
// are too many spans, it joins two, so that the result is as short as possible: the
// nonces between them count as used.
func (s nonceSet) add(from, end uint64) nonceSet {
	if from >= end {
		return s
	}
	i, _ := slices.BinarySearchFunc(s, from, func(u span, n uint64) int {
		if u.end < n {
			return -1
		}
		return 1
	})
	j := i
	for ; j < len(s) && s[j].from <= end; j++ {
		from, end = min(from, s[j].from), max(end, s[j].end)
	}
	s = slices.Concat(s[:i], nonceSet{{from, end}}, s[j:])
	for len(s) > maxSpans {
		join := 1
		for i := range s[2:] {
			if s[i+2].end-s[i+1].from < s[join].end-s[join-1].from {
				join = i + 2
			}
		}
		s[join-1].end = s[join].end
		s = slices.Delete(s, join, join+1)
	}
	return s
}

// valid reports whether the spans are in order, apart from each other, and at most
// maxSpans.
func (s nonceSet) valid() bool {
	for i, u := range s {
		if u.from >= u.end || u.end > nonceCount || i > 0 && u.from <= s[i-1].end {
			return false
		}
	}
	return len(s) <= maxSpans
}
