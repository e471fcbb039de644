package nftcheck

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"
)

// ruleset is the nftables ruleset of this host. A part that cannot be read may do
// anything; all other parts are read nevertheless.
type ruleset struct {
	from     source
	chains   []*chain // in the kernel's order
	byName   map[name]*chain
	sets     map[name]*set
	unread   []string // the parts that cannot be read, a clause each
	reported map[string]bool
	known    map[question][]redirect // results of redirectsOf
	expired  func() bool             // whether the time for the judgement is over; nil: never
	steps    int                     // rules that were evaluated
	marks    uint32                  // the bits of marks that rules may set
}

// name is the name of a chain or a set.
type name struct {
	family      byte
	table, name string
	legacy      bool // of iptables-legacy, which the kernel keeps apart
}

type chain struct {
	name
	base     bool
	kind     string // "filter", "nat" or "route"
	hook     uint32
	priority int32
	drops    bool     // by its policy
	devices  []string // of an ingress chain: whose packets it sees
	rules    []rule
}

// rule is a rule with its expressions as the kernel reports them.
type rule struct {
	handle      uint64
	expressions []expression
	broken      bool // some expression is missing
}

type expression struct {
	name string
	attributes
}

// String is how nft names a chain.
func (n name) String() string { return fmt.Sprintf("%s %s %s", familyName(n.family), n.table, n.name) }

// nameRule names a rule by its text and its handle or, of iptables-legacy, its
// number.
func (c *chain) nameRule(i int, text string) string {
	label, n := "handle", c.rules[i].handle
	if c.legacy {
		label = "number"
	}
	if text == "" {
		return fmt.Sprintf("the rule of %s %d of chain \"%s\"", label, n, c.name)
	}
	return fmt.Sprintf("the rule \"%s\" (%s %d of chain \"%s\")", text, label, n, c.name)
}

func familyName(family byte) string {
	switch family {
	case unix.NFPROTO_IPV4:
		return "ip"
	case unix.NFPROTO_IPV6:
		return "ip6"
	case unix.NFPROTO_BRIDGE:
		return "bridge"
	case unix.NFPROTO_NETDEV:
		return "netdev"
	case unix.NFPROTO_ARP:
		return "arp"
	}
	return "inet"
}

// read reads all chains and rules, and the list of sets. The elements of a set
// are read when a rule uses it.
func read(from source) (*ruleset, error) {
	r := &ruleset{from: from, byName: map[name]*chain{}, sets: map[name]*set{}, reported: map[string]bool{}, known: map[question][]redirect{}}
	messages, err := from.dump(unix.NFT_MSG_GETCHAIN, unix.NFPROTO_UNSPEC, nil)
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		if c := readChain(m); c != nil {
			r.chains = append(r.chains, c)
			r.byName[c.name] = c
		}
	}
	if messages, err = from.dump(unix.NFT_MSG_GETRULE, unix.NFPROTO_UNSPEC, nil); err != nil {
		return nil, err
	}
	for _, m := range messages {
		a := parse(m[headerLen:])
		c := r.byName[name{family: m[0], table: a.text(unix.NFTA_RULE_TABLE), name: a.text(unix.NFTA_RULE_CHAIN)}]
		if c == nil {
			continue // the chain was added after the chains were read
		}
		rule := readRule(a)
		c.rules = append(c.rules, rule)
		r.marks |= rule.marks() // our own table sets none, but the operator's chains in it may
	}
	if messages, err = from.dump(unix.NFT_MSG_GETSET, unix.NFPROTO_UNSPEC, nil); err != nil {
		return nil, err
	}
	for _, m := range messages {
		s := readSet(m)
		r.sets[s.name] = s
	}
	if _, real := from.(*kernel); real {
		r.readLegacy()
	}
	return r, nil
}

func readChain(m []byte) *chain {
	a := parse(m[headerLen:])
	c := &chain{name: name{family: m[0], table: a.text(unix.NFTA_CHAIN_TABLE), name: a.text(unix.NFTA_CHAIN_NAME)}, kind: a.text(unix.NFTA_CHAIN_TYPE)}
	if hook := a.nested(unix.NFTA_CHAIN_HOOK); a.has(unix.NFTA_CHAIN_HOOK) {
		c.base = true
		c.hook, c.priority = uint32(hook.number(unix.NFTA_HOOK_HOOKNUM)), int32(hook.number(unix.NFTA_HOOK_PRIORITY))
		if device := hook.text(unix.NFTA_HOOK_DEV); device != "" {
			c.devices = []string{device}
		}
		for _, x := range hook.nested(hookDevices).list {
			c.devices = append(c.devices, string(bytes.TrimRight(x.data, "\x00")))
		}
		c.drops = a.has(unix.NFTA_CHAIN_POLICY) && a.number(unix.NFTA_CHAIN_POLICY) == verdictDrop
	}
	return c
}

// hookDevices is NFTA_HOOK_DEVS.
const hookDevices = 4

// marks returns the bits of a packet's mark that a rule may set.
func (r rule) marks() (bits uint32) {
	for i, e := range r.expressions {
		switch {
		case e.name == "meta" && e.has(unix.NFTA_META_SREG) && e.number(unix.NFTA_META_KEY) == unix.NFT_META_MARK:
			bits |= valueBits(r.expressions[:i])
		case e.name == "target" && e.text(unix.NFTA_TARGET_NAME) == "MARK":
			info, _ := e.get(unix.NFTA_TARGET_INFO)
			if e.number(unix.NFTA_TARGET_REV) < 2 || len(info) < 8 {
				return allBits
			}
			bits |= nativeUint32(info) // of struct xt_mark_tginfo2
		case e.name == "target" && e.text(unix.NFTA_TARGET_NAME) == "CONNMARK":
			return allBits
		}
	}
	return bits
}

const allBits = ^uint32(0)

// valueBits returns the bits that a value may have which the last of some
// expressions makes: a number, or a mark of which some bits are changed.
func valueBits(of []expression) uint32 {
	n := len(of)
	if n > 0 && of[n-1].name == "immediate" {
		value, _ := of[n-1].nested(unix.NFTA_IMMEDIATE_DATA).get(dataValue)
		return nativeUint32(value)
	}
	if n > 1 && of[n-1].name == "bitwise" && of[n-2].name == "meta" && of[n-2].number(unix.NFTA_META_KEY) == unix.NFT_META_MARK {
		value, ok := of[n-1].nested(unix.NFTA_BITWISE_XOR).get(dataValue)
		if ok && of[n-1].number(bitwiseOp) == 0 {
			return nativeUint32(value)
		}
	}
	return allBits
}

func readRule(a attributes) rule {
	r := rule{handle: a.number(unix.NFTA_RULE_HANDLE), broken: !a.whole}
	list := a.nested(unix.NFTA_RULE_EXPRESSIONS)
	r.broken = r.broken || !list.whole
	for _, x := range list.list {
		e := parse(x.data)
		details := e.nested(unix.NFTA_EXPR_DATA)
		r.expressions = append(r.expressions, expression{e.text(unix.NFTA_EXPR_NAME), details})
		r.broken = r.broken || !e.whole || !details.whole
	}
	return r
}

// find returns the chain of a name in the table of another chain.
func (r *ruleset) find(beside *chain, to string) *chain {
	return r.byName[name{beside.family, beside.table, to, beside.legacy}]
}

// cannotRead remembers a clause, once.
func (r *ruleset) cannotRead(format string, args ...any) {
	clause := fmt.Sprintf(format, args...)
	if !r.reported[clause] {
		r.reported[clause] = true
		r.unread = append(r.unread, clause)
	}
}
