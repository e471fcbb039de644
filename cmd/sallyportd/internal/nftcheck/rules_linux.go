package nftcheck

import (
	"bytes"
	"encoding/binary"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// traffic are packets that have to come in: of a protocol, to a range of
// ports.
type traffic struct {
	protocol  byte // unix.IPPROTO_TCP or IPPROTO_UDP
	low, high int
	somewhere bool // to one of the ports, and we do not know which
}

// verdict is what becomes of traffic in a chain.
type verdict int

const (
	undecided verdict = iota // they leave it as they came
	accepted
	dropped
	someDropped // those to some ports are dropped
)

// maxDepth is how deep chains may jump; the kernel allows 16.
const maxDepth = 16

// walk is the way of traffic through chains.
type walk struct {
	ruleset
	traffic
	maybeAccepted bool // a rule that is not understood may have accepted them
}

// follow goes through a chain's rules in their order.
func (w *walk) follow(c *nftables.Chain, depth int) verdict {
	if c == nil || depth > maxDepth {
		return undecided
	}
	for _, rule := range w.rules[c] {
		m, do := w.read(rule.Exprs)
		if m == never {
			continue
		}
		f := undecided
		switch v := do.(type) {
		case *expr.Reject:
			f = dropped
		case *expr.Verdict:
			switch v.Kind {
			case expr.VerdictAccept:
				f = accepted
			case expr.VerdictDrop:
				f = dropped
			case expr.VerdictJump, expr.VerdictGoto:
				f = w.follow(w.find(c, v.Chain), depth+1)
			case expr.VerdictReturn:
				if m == always {
					return undecided
				}
			}
		}
		switch {
		case f == undecided:
		case m == maybe:
			w.maybeAccepted = w.maybeAccepted || f == accepted
		case m == some && f == dropped:
			return someDropped
		case m == always:
			return f
		}
	}
	return undecided
}

// match is whether a rule applies to traffic.
type match int

const (
	always match = iota
	some         // to those to some ports
	maybe        // it asks for what we do not understand
	never
)

// read returns whether a rule applies to the traffic, and what it does.
func (a traffic) read(exprs []expr.Any) (m match, do expr.Any) {
	worse := func(with match) { m = max(m, with) }
	loaded := ""
	low, high := 0, 1<<16-1 // the ports that it applies to
	for _, e := range exprs {
		switch e := e.(type) {
		case *expr.Counter, *expr.Log, *expr.Limit:
			if _, limits := e.(*expr.Limit); limits {
				worse(maybe)
			}
		case *expr.Meta:
			loaded = ""
			if e.Key == expr.MetaKeyL4PROTO {
				loaded = "protocol"
			}
		case *expr.Payload:
			loaded = ""
			if e.Base == expr.PayloadBaseTransportHeader && e.Offset == 2 && e.Len == 2 {
				loaded = "port"
			} else if e.Base == expr.PayloadBaseNetworkHeader && e.Offset == 9 && e.Len == 1 {
				loaded = "protocol"
			}
		case *expr.Cmp:
			ours := bytes.Equal(e.Data, []byte{a.protocol})
			switch {
			case loaded == "protocol" && (e.Op == expr.CmpOpEq) == ours && (e.Op == expr.CmpOpEq || e.Op == expr.CmpOpNeq):
			case loaded == "protocol" && (e.Op == expr.CmpOpEq || e.Op == expr.CmpOpNeq):
				worse(never)
			case loaded == "port" && e.Op == expr.CmpOpGte:
				low = max(low, bigEndian(e.Data))
			case loaded == "port" && e.Op == expr.CmpOpLte:
				high = min(high, bigEndian(e.Data))
			case loaded == "port" && e.Op == expr.CmpOpEq:
				low, high = max(low, bigEndian(e.Data)), min(high, bigEndian(e.Data))
			default:
				worse(maybe)
			}
		case *expr.Range:
			if loaded == "port" && e.Op == expr.CmpOpEq {
				low, high = max(low, bigEndian(e.FromData)), min(high, bigEndian(e.ToData))
			} else {
				worse(maybe)
			}
		case *expr.Verdict, *expr.Reject:
			do = e
		default:
			worse(maybe)
		}
	}
	switch {
	case high < a.low || low > a.high || low > high:
		worse(never)
	case (low > a.low || high < a.high) && a.somewhere:
		worse(maybe)
	case low > a.low || high < a.high:
		worse(some)
	}
	return m, do
}

func bigEndian(data []byte) int {
	if len(data) < 2 {
		return 0
	}
	return int(binary.BigEndian.Uint16(data))
}
