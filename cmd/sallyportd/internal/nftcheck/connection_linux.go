package nftcheck

import (
	"encoding/binary"
	"strings"

	"golang.org/x/sys/unix"
)

// The states of connections, as xt_conntrack has them.
const (
	xtStateNew       = 1 << 3
	xtStateUntracked = 1 << 8
)

// matchConnection reads struct xt_conntrack_mtinfo1 and its later revisions.
func (s *state) matchConnection(revision uint64, info []byte) {
	const flagsAt, invertsAt, statesAt = 146, 148, 150
	const byState, fromAlias, mtinfo1 = 1, 1 << 13, 1
	if len(info) < statesAt+2 || revision < mtinfo1 {
		s.text = append(s.text, "-m conntrack")
		s.worse(maybe)
		return
	}
	word := func(at int) uint16 { return binary.NativeEndian.Uint16(info[at:]) }
	if by := word(flagsAt) &^ fromAlias; by&^byState != 0 || by != 0 && !s.to.stranger {
		s.text = append(s.text, "-m conntrack")
		s.worse(maybe)
	}
	if word(flagsAt)&byState == 0 || !s.to.stranger {
		return
	}
	states := uint32(word(statesAt))
	if revision == mtinfo1 {
		states = uint32(info[statesAt])
	}
	s.matchState(states, word(invertsAt)&byState != 0)
}

// matchState compares states of connections.
func (s *state) matchState(states uint32, inverted bool) {
	is := uint32(xtStateNew)
	if s.to.untracked {
		is = xtStateUntracked
	}
	var names []string
	for i, name := range []string{"invalid", "established", "related", "new", "", "", "snat", "dnat", "untracked"} {
		if states>>i&1 != 0 && name != "" {
			names = append(names, name)
		}
	}
	op := ""
	if inverted {
		op = "!= "
	}
	s.text = append(s.text, "ct state "+op+strings.Join(names, ","))
	if (states&is != 0) == inverted {
		s.worse(never)
	}
}

// matchSet reads the beginning of struct xt_set_info, which all revisions share.
// Only the kernel's sets know their elements.
func (s *state) matchSet(info []byte) {
	const flagsAt, inverted, bySource = 3, 1, 2
	s.text = append(s.text, "-m set")
	switch {
	case len(info) <= flagsAt || info[flagsAt]&bySource == 0:
		s.worse(maybe)
	case info[flagsAt]&inverted != 0:
		s.worse(mostly)
	default:
		s.worse(rarely)
	}
}

// matchMark reads struct xt_mark_mtinfo1. If no rule marks packets, the mark is 0.
func (s *state) matchMark(info []byte) {
	s.text = append(s.text, "-m mark")
	switch {
	case len(info) < 9 || !s.unmarked || !s.to.stranger:
		s.worse(maybe)
	case (nativeUint32(info) == 0) == (info[8] != 0):
		s.worse(never)
	}
}

// matchPacketType reads struct xt_pkttype_info.
func (s *state) matchPacketType(info []byte) {
	s.text = append(s.text, "-m pkttype")
	switch {
	case len(info) < 8 || !s.to.stranger || !s.to.local:
		s.worse(maybe)
	case (nativeUint32(info) == unix.PACKET_HOST) == (nativeUint32(info[4:]) != 0):
		s.worse(never)
	}
}
