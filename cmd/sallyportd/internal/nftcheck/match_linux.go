package nftcheck

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// match is whether a rule applies to packets.
type match int

const (
	always match = iota
	some         // to packets to some ports
	maybe        // it matches something that we do not know
	never
)

// state is what is known of packets at an expression of a rule.
type state struct {
	registers
	to        packet
	low, high int // the ports that the rule applies to, so far
	m         match
	labels    []string // of values that are loaded and not compared yet
	show      func([]byte) string
	text      []string // the matches of the rule, as nft would write them
}

func (s *state) worse(with match) { s.m = max(s.m, with) }

// narrow restricts the rule to some ports.
func (s *state) narrow(low, high int) {
	s.low, s.high = max(s.low, low), min(s.high, high)
	switch {
	case s.low > s.high:
		s.worse(never)
	case (s.low > s.to.low || s.high < s.to.high) && s.to.somewhere:
		s.worse(maybe)
	case s.low > s.to.low || s.high < s.to.high:
		s.worse(some)
	}
}

func (s *state) loaded(label string, show func([]byte) string) {
	s.labels, s.show = append(s.labels, label), show
}

// addText adds a comparison to the rule's text.
func (s *state) addText(op, value string) {
	what := strings.Join(s.labels, " . ")
	s.labels = nil
	if what == "nfproto" {
		return // the table or the address imply it
	}
	if n := len(s.text); op == "<=" && n > 1 && s.text[n-2] == ">=" && what == "" {
		s.text = append(slices.Clone(s.text[:n-2]), s.text[n-1]+"-"+value)
		return
	}
	for _, part := range []string{what, op, value} {
		if part != "" {
			s.text = append(s.text, part)
		}
	}
}

func (s *state) shown(b []byte) string {
	if s.show == nil {
		return "…"
	}
	return s.show(b)
}

var operators = []string{"", "!=", "<", "<=", ">", ">="}

// compare reads "cmp".
func (s *state) compare(a attributes) {
	op, register := a.number(unix.NFTA_CMP_OP), a.number(unix.NFTA_CMP_SREG)
	want, _ := a.nested(unix.NFTA_CMP_DATA).get(dataValue)
	if op >= uint64(len(operators)) || len(want) == 0 {
		s.worse(maybe)
		return
	}
	label := strings.Join(s.labels, " ")
	s.addText(operators[op], s.shown(want))
	if label == "iif" || label == "iifname" {
		s.compareInterface(op, want)
		return
	}
	if s.holdsPort(register, len(want)) {
		s.comparePort(op, bigEndian(want))
		return
	}
	got, known, whole := s.get(register, len(want))
	if !whole {
		if differ(got, want, known) && op == unix.NFT_CMP_EQ {
			s.worse(never)
		} else if !(differ(got, want, known) && op == unix.NFT_CMP_NEQ) {
			s.worse(maybe)
		}
		return
	}
	c := bytes.Compare(got, want)
	if !([]bool{c == 0, c != 0, c < 0, c <= 0, c > 0, c >= 0})[op] {
		s.worse(never)
	}
}

// compareInterface compares the interface on which a packet came in. A packet of
// another host does not come in on the loopback; it may come in on any other.
func (s *state) compareInterface(op uint64, want []byte) {
	loopback := bytes.Equal(want, binary.NativeEndian.AppendUint32(nil, 1)) || string(bytes.TrimRight(want, "\x00")) == "lo"
	switch {
	case s.to.stranger && op == unix.NFT_CMP_NEQ:
	case s.to.stranger && op == unix.NFT_CMP_EQ && loopback:
		s.worse(never)
	default:
		s.worse(maybe)
	}
}

func (s *state) comparePort(op uint64, port int) {
	switch op {
	case unix.NFT_CMP_EQ:
		s.narrow(port, port)
	case unix.NFT_CMP_NEQ:
		s.except(port, port)
	case unix.NFT_CMP_LT:
		s.narrow(0, port-1)
	case unix.NFT_CMP_LTE:
		s.narrow(0, port)
	case unix.NFT_CMP_GT:
		s.narrow(port+1, 1<<16-1)
	case unix.NFT_CMP_GTE:
		s.narrow(port, 1<<16-1)
	}
}

// except restricts the rule to all other ports.
func (s *state) except(low, high int) {
	switch {
	case high < s.low || low > s.high:
	case low <= s.low:
		s.narrow(high+1, 1<<16-1)
	case high >= s.high:
		s.narrow(0, low-1)
	case s.to.somewhere:
		s.worse(maybe)
	default:
		s.worse(some)
	}
}

// within reads "range".
func (s *state) within(a attributes) {
	register, inverted := a.number(unix.NFTA_RANGE_SREG), a.number(unix.NFTA_RANGE_OP) != unix.NFT_RANGE_EQ
	from, _ := a.nested(unix.NFTA_RANGE_FROM_DATA).get(dataValue)
	to, _ := a.nested(unix.NFTA_RANGE_TO_DATA).get(dataValue)
	op := ""
	if inverted {
		op = "!="
	}
	s.addText(op, s.shown(from)+"-"+s.shown(to))
	got, _, whole := s.get(register, len(from))
	switch {
	case s.holdsPort(register, len(from)) && inverted:
		s.except(bigEndian(from), bigEndian(to))
	case s.holdsPort(register, len(from)):
		s.narrow(bigEndian(from), bigEndian(to))
	case !whole || len(from) != len(to):
		s.worse(maybe)
	case (bytes.Compare(got, from) >= 0 && bytes.Compare(got, to) <= 0) == inverted:
		s.worse(never)
	}
}

// differ reports whether a known byte of got differs from want.
func differ(got, want []byte, known uint64) bool {
	for i := range min(len(got), len(want)) {
		if known>>i&1 != 0 && got[i] != want[i] {
			return true
		}
	}
	return false
}

// combine reads "bitwise".
func (s *state) combine(a attributes) {
	n := int(a.number(unix.NFTA_BITWISE_LEN))
	and, _ := a.nested(unix.NFTA_BITWISE_MASK).get(dataValue)
	xor, _ := a.nested(unix.NFTA_BITWISE_XOR).get(dataValue)
	got, known, _ := s.get(a.number(unix.NFTA_BITWISE_SREG), n)
	if len(got) != n || len(and) != n || len(xor) != n || a.number(bitwiseOp) != 0 {
		s.forget()
		return
	}
	out := make([]byte, n)
	for i := range out {
		out[i] = got[i]&and[i] ^ xor[i]
		if and[i] == 0 {
			known |= 1 << i
		}
	}
	s.set(a.number(unix.NFTA_BITWISE_DREG), out, known)
	if n := len(s.labels); n > 0 {
		s.labels = append(s.labels[:n-1:n-1], s.labels[n-1]+" &")
	}
}

// bitwiseOp is NFTA_BITWISE_OP; 0 is mask and xor.
const bitwiseOp = 6
