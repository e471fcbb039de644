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
	some         // to packets to some ports; only of redirects
	mostly       // to packets of all sources except some
	maybe        // it matches something that we do not know
	rarely       // to packets of some sources
	never
)

// state is what is known of packets at an expression of a rule.
type state struct {
	registers
	to     packet
	ports  ports // that the rule applies to, so far
	m      match
	labels []string // of values that are loaded and not compared yet
	show   func([]byte) string
	masked []byte // by what the last value was masked
	// markBits are those that a packet's mark may have.
	markBits uint32
	text     []string // the matches of the rule, as nft would write them
}

func (s *state) worse(with match) { s.m = max(s.m, with) }

// narrow restricts the rule to some ports.
func (s *state) narrow(low, high int) { s.restrict(ports{{low, high}}) }

// except restricts the rule to all other ports.
func (s *state) except(low, high int) { s.restrict(ports{{low, high}}.others()) }

func (s *state) restrict(to ports) {
	both := s.ports.and(to)
	switch {
	case len(both) == 0:
		s.worse(never)
	case both.size() == s.ports.size():
	case s.to.somewhere:
		s.worse(maybe)
	default:
		s.ports = both
	}
}

// unknown is for a comparison with an unknown value. If it is of the source
// address, the rule is for some sources, or for all except some.
func (s *state) unknown(inverted bool) {
	switch {
	case !slices.ContainsFunc(s.labels, isSource):
		s.worse(maybe)
	case inverted:
		s.worse(mostly)
	default:
		s.worse(rarely)
	}
}

func isSource(label string) bool {
	return strings.HasSuffix(strings.TrimSuffix(label, " &"), " saddr")
}

func (s *state) loaded(label string, show func([]byte) string) {
	s.labels, s.show = append(s.labels, label), show
}

// addText adds a comparison to the rule's text.
func (s *state) addText(op, value string) {
	what := strings.Join(slices.DeleteFunc(slices.Clone(s.labels), func(l string) bool { return l == "" }), " . ")
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
	if s.judgeComparison(op, register, want); s.m == never {
		return // its text is of no use
	}
	n := len(s.labels)
	masked := n > 0 && s.labels[n-1] == "ct state &"
	if masked && op == unix.NFT_CMP_NEQ && len(bytes.Trim(want, "\x00")) == 0 {
		s.labels[n-1] = "ct state"
		s.addText("", s.shown(s.masked))
		return
	}
	s.addText(operators[op], s.shown(want))
}

func (s *state) judgeComparison(op, register uint64, want []byte) {
	label := ""
	if len(s.labels) == 1 {
		label = s.labels[0]
	}
	got, known, whole := s.get(register, len(want))
	if !whole && (label == "iif" || label == "iifname") {
		s.compareInterface(op, want)
		return
	}
	if s.holdsPort(register, len(want)) {
		s.comparePort(op, bigEndian(want))
		return
	}
	if at, ok := offset(register); ok && s.port >= at && s.port+2 <= at+len(want) && op == unix.NFT_CMP_EQ {
		port := bigEndian(want[s.port-at:]) // beside other fields
		s.narrow(port, port)
	}
	if !whole {
		if differ(got, want, known) && op == unix.NFT_CMP_EQ {
			s.worse(never)
		} else if !(differ(got, want, known) && op == unix.NFT_CMP_NEQ) {
			s.unknown(op == unix.NFT_CMP_NEQ)
		}
		return
	}
	c := bytes.Compare(got, want)
	if !([]bool{c == 0, c != 0, c < 0, c <= 0, c > 0, c >= 0})[op] {
		s.worse(never)
	}
}

// compareInterface compares the interface on which a packet came in, if it is not
// known. A packet of another host does not come in on the loopback; it may come
// in on any other.
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

// within reads "range".
func (s *state) within(a attributes) {
	register, inverted := a.number(unix.NFTA_RANGE_SREG), a.number(unix.NFTA_RANGE_OP) != unix.NFT_RANGE_EQ
	from, _ := a.nested(unix.NFTA_RANGE_FROM_DATA).get(dataValue)
	to, _ := a.nested(unix.NFTA_RANGE_TO_DATA).get(dataValue)
	op := ""
	if inverted {
		op = "!="
	}
	defer func() { s.addText(op, s.shown(from)+"-"+s.shown(to)) }()
	got, _, whole := s.get(register, len(from))
	switch {
	case s.holdsPort(register, len(from)) && inverted:
		s.except(bigEndian(from), bigEndian(to))
	case s.holdsPort(register, len(from)):
		s.narrow(bigEndian(from), bigEndian(to))
	case !whole || len(from) != len(to):
		s.unknown(inverted)
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
	s.masked = and
	if len(got) != n || len(and) != n || len(xor) != n || a.number(bitwiseOp) != 0 {
		s.forget()
		return
	}
	if k := len(s.labels); k > 0 && s.labels[k-1] == markLabel && s.to.stranger && nativeUint32(and)&s.markBits == 0 {
		known = mask(n) // none of these bits is set
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

// swap reads "byteorder". A value that is shorter than a number stays as it is.
func (s *state) swap(a attributes) {
	from, to := a.number(unix.NFTA_BYTEORDER_SREG), a.number(unix.NFTA_BYTEORDER_DREG)
	n, size := int(a.number(unix.NFTA_BYTEORDER_LEN)), int(a.number(unix.NFTA_BYTEORDER_SIZE))
	if from == to && n < size {
		return
	}
	got, _, whole := s.get(from, n)
	if !whole || size < 2 || n%size != 0 {
		s.forget()
		return
	}
	out := slices.Clone(got)
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		for part := range slices.Chunk(out, size) {
			slices.Reverse(part)
		}
	}
	s.set(to, out, mask(n))
}

// bitwiseOp is NFTA_BITWISE_OP; 0 is mask and xor.
const bitwiseOp = 6
