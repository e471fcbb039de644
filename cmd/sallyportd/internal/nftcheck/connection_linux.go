package nftcheck

import (
	"encoding/binary"
	"strings"

	"golang.org/x/sys/unix"
)

// The states of connections, as nft_ct has them.
const (
	stateNew       = 1 << 3
	stateUntracked = 1 << 6
)

// stateText writes states of connections as nft would.
func stateText(b []byte) string {
	var names []string
	bits := nativeUint32(b)
	for i, name := range []string{"invalid", "established", "related", "new", "", "", "untracked"} {
		if bits>>i&1 != 0 && name != "" {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return hexadecimal(b)
	}
	return strings.Join(names, ",")
}

// connection reads "ct". Known are the values for a stranger's first packet.
func (s *state) connection(a attributes) {
	register := a.number(unix.NFTA_CT_DREG)
	if a.has(unix.NFTA_CT_SREG) {
		return
	}
	known := mask(0)
	if s.to.stranger {
		known = mask(4)
	}
	switch key := a.number(unix.NFTA_CT_KEY); {
	case key == unix.NFT_CT_STATE:
		bit := uint32(stateNew)
		if s.to.untracked {
			bit = stateUntracked
		}
		s.set(register, binary.NativeEndian.AppendUint32(nil, bit), known)
		s.loaded("ct state", stateText)
	case key == unix.NFT_CT_STATUS:
		status := uint32(0)
		if s.to.redirected {
			status = statusDNAT
		}
		s.set(register, binary.NativeEndian.AppendUint32(nil, status), known)
		s.loaded("ct status", hexadecimal)
	case key == unix.NFT_CT_DIRECTION:
		s.set(register, []byte{0}, known)
		s.loaded("ct direction", hexadecimal)
	default:
		s.forget()
		s.loaded("ct", nil)
	}
}

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
	if s.to.redirected {
		is |= xtStateDNAT
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

// matchMark reads struct xt_mark_mtinfo1. Bits that no rule sets are 0.
func (s *state) matchMark(info []byte) {
	s.text = append(s.text, "-m mark")
	switch {
	case len(info) < 9 || nativeUint32(info[4:])&s.markBits != 0 || !s.to.stranger:
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
