package nftcheck

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// verdict is the verdict of a rule, by the kernel's number of it.
type verdict struct {
	code    int32
	chain   string // to jump to
	rejects bool   // it drops, and answers
}

func (v verdict) String() string {
	switch {
	case v.rejects:
		return "reject"
	case v.code == verdictJump:
		return "jump " + v.chain
	case v.code == verdictGoto:
		return "goto " + v.chain
	}
	return map[int32]string{verdictDrop: "drop", verdictAccept: "accept", verdictQueue: "queue", verdictReturn: "return"}[v.code]
}

// The verdicts that matter here.
const (
	verdictDrop   = 0
	verdictAccept = 1
	verdictQueue  = 3
	verdictJump   = -3
	verdictGoto   = -4
	verdictReturn = -5
)

func readVerdict(a attributes) verdict {
	return verdict{code: int32(a.number(verdictCode)), chain: a.text(verdictChain)}
}

// effect is what a rule does to a packet.
type effect struct {
	verdict *verdict
	target  *target // where the packet is redirected to
	source  string  // how the packet's source address is changed; empty: it is not
	passes  bool    // later rules see the packet too
}

// target is where packets are redirected to.
type target struct {
	how     string     // "dnat to", "redirect to", "tproxy to", "rewritten to"
	address netip.Addr // invalid: an address of this host
	other   bool       // the address is not known
	port    int        // 0: as before
	last    int        // the last port of a range that begins at port; 0: port is the only one
	unclear bool       // the port is not known
}

func (t target) String() string {
	port := ""
	switch {
	case t.unclear:
		port = ":?"
	case t.port != 0:
		port = ":" + t.numbers()
	}
	switch {
	case t.other:
		return t.how + " ?" + port
	case t.address.Is6() && port != "":
		return fmt.Sprintf("%s [%s]%s", t.how, t.address, port)
	case t.address.IsValid():
		return fmt.Sprintf("%s %s%s", t.how, t.address, port)
	case port == "":
		return t.how + " the same port"
	}
	return t.how + " " + port
}

// numbers writes the port, or the range of ports.
func (t target) numbers() string {
	if t.last > t.port {
		return fmt.Sprintf("%d-%d", t.port, t.last)
	}
	return fmt.Sprint(t.port)
}

// translate reads "nat", with the values that the rule has loaded.
func (s *state) translate(a attributes) effect {
	if a.number(unix.NFTA_NAT_TYPE) != unix.NFT_NAT_DNAT {
		return effect{source: "snat"}
	}
	t := target{how: "dnat to"}
	s.targetAddress(&t, a, unix.NFTA_NAT_REG_ADDR_MIN, int(a.number(unix.NFTA_NAT_FAMILY)))
	s.targetPort(&t, a, unix.NFTA_NAT_REG_PROTO_MIN)
	s.targetLast(&t, a, unix.NFTA_NAT_REG_PROTO_MAX)
	return effect{target: &t}
}

func (s *state) targetAddress(t *target, a attributes, kind uint16, family int) {
	if !a.has(kind) {
		return
	}
	length := 4
	if family == unix.NFPROTO_IPV6 {
		length = 16
	}
	if value, _, whole := s.get(a.number(kind), length); whole {
		t.address, _ = netip.AddrFromSlice(value)
	} else {
		t.other = true
	}
}

func (s *state) targetPort(t *target, a attributes, kind uint16) {
	if !a.has(kind) {
		return
	}
	if value, _, whole := s.get(a.number(kind), 2); whole {
		t.port = bigEndian(value)
	} else {
		t.unclear = true
	}
}

// targetLast reads the last port of a range.
func (s *state) targetLast(t *target, a attributes, kind uint16) {
	if !a.has(kind) || t.port == 0 {
		return
	}
	if value, _, whole := s.get(a.number(kind), 2); whole {
		t.last = max(bigEndian(value), t.port)
	} else {
		t.port, t.unclear = 0, true
	}
}
