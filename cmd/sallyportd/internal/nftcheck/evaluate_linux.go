package nftcheck

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// evaluate goes through a rule's expressions, and emits the rule's effects, each
// with the packets that it applies to. It may emit several effects, or none.
func (r *ruleset) evaluate(c *chain, number int, s state, emit func(state, effect)) {
	s.markBits = r.marks
	r.expressions(c, number, c.rules[number].expressions, s, emit)
}

func (r *ruleset) expressions(c *chain, number int, rest []expression, s state, emit func(state, effect)) {
	for i, e := range rest {
		if s.m == never {
			return
		}
		switch e.name {
		case "counter", "log", "notrack", "last", "dup", "flow_offload":
			// They do not change a packet.
		case "limit", "quota", "connlimit":
			s.text = append(s.text, e.name)
			s.worse(maybe)
		case "dynset":
			s.labels = nil
			if e.has(unix.NFTA_DYNSET_EXPR) || e.has(dynsetExpressions) {
				s.text = append(s.text, "meter @"+e.text(unix.NFTA_DYNSET_SET_NAME))
				s.worse(maybe)
			}
		case "objref":
			if e.number(objectType) != unix.NFT_OBJECT_COUNTER {
				s.worse(maybe)
			}
		case "meta":
			s.meta(e.attributes)
		case "ct":
			s.connection(e.attributes)
		case "fib":
			s.route(e.attributes)
		case "payload":
			if e.has(payloadSource) {
				if t := s.rewrite(e.attributes); t != nil {
					emit(s, effect{target: t, passes: true})
				}
				continue
			}
			s.load(e.number(unix.NFTA_PAYLOAD_DREG), e.number(unix.NFTA_PAYLOAD_BASE), e.number(unix.NFTA_PAYLOAD_OFFSET), e.number(unix.NFTA_PAYLOAD_LEN))
		case "cmp":
			s.compare(e.attributes)
		case "range":
			s.within(e.attributes)
		case "bitwise":
			s.combine(e.attributes)
		case "exthdr":
			s.extension(e.attributes)
		case "rt", "socket", "numgen", "hash", "osf", "xfrm", "tunnel", "inner":
			s.forget()
			s.loaded(e.name, nil)
		case "byteorder":
			s.swap(e.attributes)
		case "lookup":
			for _, way := range r.lookup(c, s, e.attributes) {
				if way.verdict != nil {
					emit(way.state, effect{verdict: way.verdict})
					continue
				}
				r.expressions(c, number, rest[i+1:], way.state, emit)
			}
			return
		case "immediate":
			data := e.nested(unix.NFTA_IMMEDIATE_DATA)
			if data.has(dataVerdict) {
				v := readVerdict(data.nested(dataVerdict))
				emit(s, effect{verdict: &v})
				return
			}
			value, _ := data.get(dataValue)
			s.set(e.number(unix.NFTA_IMMEDIATE_DREG), value, mask(len(value)))
		case "reject":
			emit(s, effect{verdict: &verdict{code: verdictDrop, rejects: true}})
			return
		case "fwd":
			emit(s, effect{target: &target{how: sends, other: true}})
			return
		case "queue", "synproxy":
			s.worse(maybe)
			emit(s, effect{verdict: &verdict{code: verdictQueue}})
			return
		case "nat":
			emit(s, s.translate(e.attributes))
			return
		case "masq":
			emit(s, effect{source: "masquerade"})
			return
		case "redir":
			t := target{how: "redirect to"}
			s.targetPort(&t, e.attributes, unix.NFTA_REDIR_REG_PROTO_MIN)
			s.targetLast(&t, e.attributes, unix.NFTA_REDIR_REG_PROTO_MAX)
			emit(s, effect{target: &t})
			return
		case "tproxy":
			t := target{how: tproxies}
			s.targetPort(&t, e.attributes, tproxyPort)
			emit(s, effect{target: &t, passes: true})
		case "legacy":
			s.matchHeader(e.attributes)
		case "verdict":
			emit(s, effect{verdict: &verdict{code: int32(e.number(verdictCode)), chain: e.text(verdictChain)}})
			return
		case "match":
			s.matchExtension(e.attributes)
		case "target":
			if f, ends := r.targetExtension(c, number, &s, e.attributes); ends {
				emit(s, f)
				return
			}
		default:
			r.cannotReadRule(c, number, fmt.Sprintf("expression %q", e.name))
			s.forget()
			s.worse(maybe)
		}
	}
}

// Attributes that x/sys/unix does not name, as of nf_tables.h.
const (
	objectType    = 1 // NFTA_OBJREF_IMM_TYPE
	payloadSource = 5 // NFTA_PAYLOAD_SREG
	tproxyPort    = 3 // NFTA_TPROXY_REG_PORT
	// dynsetExpressions is NFTA_DYNSET_EXPRESSIONS.
	dynsetExpressions = 10
)

// rewrite reads "payload" as it changes a packet. It returns nil if the packet's
// destination stays the same.
func (s *state) rewrite(a attributes) *target {
	base, at, n := a.number(unix.NFTA_PAYLOAD_BASE), int(a.number(unix.NFTA_PAYLOAD_OFFSET)), int(a.number(unix.NFTA_PAYLOAD_LEN))
	value, _, whole := s.get(a.number(payloadSource), n)
	s.labels = nil
	t := target{how: rewrites}
	address, length := 16, 4
	if s.to.family == unix.NFPROTO_IPV6 {
		address, length = 24, 16
	}
	switch {
	case base == unix.NFT_PAYLOAD_TRANSPORT_HEADER && at == 2 && n == 2 && whole:
		t.port = bigEndian(value)
	case base == unix.NFT_PAYLOAD_TRANSPORT_HEADER && at < 4 && at+n > 2:
		t.unclear = true
	case base == unix.NFT_PAYLOAD_NETWORK_HEADER && at < address+length && at+n > address:
		t.other = true
	default:
		return nil
	}
	return &t
}

func (r *ruleset) cannotReadRule(c *chain, number int, what string) {
	r.cannotRead("rule %d (handle %d) of chain %q: %s", number+1, c.rules[number].handle, c.name, what)
}

// written is the rule's text, as short as nft would write it.
func (s *state) written(f effect) string {
	var words []string
	for i, word := range s.text {
		// The port's word names the protocol too.
		port := func(later string) bool {
			return strings.Contains(later, word+" dport") || strings.Contains(later, word+" sport")
		}
		if word != "" && !((word == "tcp" || word == "udp") && slices.ContainsFunc(s.text[i+1:], port)) {
			words = append(words, word)
		}
	}
	switch {
	case f.target != nil:
		words = append(words, f.target.String())
	case f.source != "":
		words = append(words, f.source)
	case f.verdict != nil:
		words = append(words, f.verdict.String())
	}
	line := strings.Join(words, " ")
	const most = 120
	if len(line) > most {
		line = line[:most] + "…"
	}
	return line
}
