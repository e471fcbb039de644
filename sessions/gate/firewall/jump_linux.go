package firewall

import (
	"maps"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A service can jump to a chain of the operator before it accepts a packet that a
// grant lets in. nftables jumps only within a table: so the chain is in this one.
// The chain stays whenever the rest of the table is replaced. To copy its rules
// instead would require this package to understand them, and the sets, counters and
// limits that they use, with their states.
//
// The chain runs once for each connection, whether the packet passes the table
// before translation, after it, or both. Label 106 shows that it ran. The label is
// set before the jump, so that the chain may accept, but only on a connection that
// the kernel has not confirmed: if the chain drops the packet, that connection and
// its label are gone. Without labels, the chain runs in each hook.

// labelJumped is on connections that an operator's chain let in.
const labelJumped label = 106

// statusConfirmed: a packet of the connection passed all hooks.
const statusConfirmed = 1 << 3

func confirmed() match { return status(statusConfirmed) }

// unconfirmed matches packets of connections of which no packet has passed so far.
func unconfirmed() match {
	m := status(statusConfirmed)
	m[len(m)-1] = compare(expr.CmpOpEq, make([]byte, 4))
	return m
}

// jumpChain returns the name of the chain with the packets that a grant lets in.
func (p Port) jumpChain() string { return p.name() + "_granted" }

// letIn is the verdict on packets that a grant lets in. Label is what to do with
// their connection.
func (b builder) letIn(p Port, with match) match {
	if p.Jump == "" {
		return append(slices.Clip(with), accept...)
	}
	c := b.batch.AddChain(&nftables.Chain{Table: table, Name: p.jumpChain()})
	if b.unjoined {
		b.rule(c, p.refuse())
		return goTo(c)
	}
	b.batch.AddChain(&nftables.Chain{Table: table, Name: p.Jump}) // which may exist
	if !b.can.labels {
		b.rule(c, p.notBareSYN(), state(expr.CtStateBitESTABLISHED), accept)
		b.rule(c, jump(p.Jump))
		b.rule(c, accept)
		return goTo(c)
	}
	for _, passed := range []label{labelJumped, labelTrusted} {
		b.rule(c, p.notBareSYN(), confirmed(), labelled(passed), with, accept)
	}
	if p.Protocol == TCP { // a SYN again, before the answer
		b.rule(c, state(expr.CtStateBitNEW), confirmed(), labelled(labelJumped), with, accept)
	}
	for _, a := range p.All() {
		b.rule(c, p.Protocol.match(), unconfirmed(), labelled(labelJumped), ctDestination(original, a.Ports), accept)
	}
	both := append(slices.Clip(with), setLabel(labelJumped)...)
	b.rule(c, unconfirmed(), both)
	b.rule(c, jump(p.Jump))
	b.rule(c, both, accept)
	return goTo(c)
}

// notBareSYN excludes SYNs of TCP: conntrack may assign one to a connection that was
// reset from behind the port.
func (p Port) notBareSYN() match {
	if p.Protocol == TCP {
		return notBareSYN()
	}
	return nil
}

// JumpError means that the kernel refuses the jumps to the operator's chains, such
// as because of a rule there that one of the hooks does not have. The services that
// jump stay closed until the operator changes the rules.
type JumpError struct{ Err error }

func (e *JumpError) Error() string {
	return "the kernel refuses the jump to the operator's chain: " + e.Err.Error()
}

func (e *JumpError) Unwrap() error { return e.Err }

// jumpState is what a table knows of the operator's chains.
type jumpState struct {
	filled map[string]bool // chains that had rules at the last look
	empty  []string        // chains without rules after Claim, not yet reported
	lost   []string        // chains whose rules are gone, not yet reported
	// refused is why no service jumps; nil: they do. Packets that a grant lets in
	// are then refused.
	refused  *JumpError
	at       string // sum of the operator's chains at that time
	reported *JumpError
	learned  bool // what the kernel can do is known
}

// hasJump reports whether the table has chains of the operator.
func (t *Table) hasJump() bool { return len(t.cfg.jumps()) > 0 }

// theirs returns the operator's chains, and whether there can be any.
func (c content) theirs() (chains map[string]bool, jumps bool) {
	m, ok := c.ownership()
	if jumps = ok && m.jumps != "" || c.isPrepared(); !jumps {
		return nil, false
	}
	return c.unreserved(), true
}

// unreserved returns the regular chains whose names are not ours.
func (c content) unreserved() map[string]bool {
	chains := map[string]bool{}
	for _, o := range c.chains {
		if name := o.text(unix.NFTA_CHAIN_NAME); o[unix.NFTA_CHAIN_HOOK] == nil && !reserved(name) {
			chains[name] = true
		}
	}
	return chains
}

// isPrepared reports whether the table has nothing but chains of the operator, and
// what they use: it filters no packet.
func (c content) isPrepared() bool {
	return len(c.table) > 0 && len(c.chains) > 0 && len(c.unreserved()) == len(c.chains) &&
		!slices.ContainsFunc(c.sets, func(s object) bool { return reserved(s.text(unix.NFTA_SET_NAME)) })
}

// own returns the content without the operator's part.
func (c content) own() content {
	chains, jumps := c.theirs()
	if !jumps {
		return c
	}
	without := func(all []object, theirs func(object) bool) []object {
		return slices.DeleteFunc(slices.Clone(all), theirs)
	}
	in := func(of uint16) func(object) bool { return func(o object) bool { return chains[o.text(of)] } }
	c.chains = without(c.chains, in(unix.NFTA_CHAIN_NAME))
	c.rules = without(c.rules, in(unix.NFTA_RULE_CHAIN))
	c.sets = without(c.sets, func(s object) bool { return !reserved(s.text(unix.NFTA_SET_NAME)) })
	c.foreign = nil
	return c
}

// rulesOf returns the number of rules of each of some chains.
func (c content) rulesOf(chains map[string]bool) map[string]int {
	n := map[string]int{}
	for _, r := range c.rules {
		if name := r.text(unix.NFTA_RULE_CHAIN); chains[name] {
			n[name]++
		}
	}
	return n
}

// filled returns the operator's chains that have rules.
func (c content) filled() map[string]bool {
	chains := map[string]bool{}
	for name := range c.rulesOf(c.unreserved()) {
		if !strings.HasPrefix(name, "__") { // a part of a rule: see isInRule
			chains[name] = true
		}
	}
	return chains
}

// operatorSum differs if a chain or rule of the operator does.
func (c content) operatorSum() string {
	chains, _ := c.theirs()
	only := func(all []object, of uint16) []object {
		return slices.DeleteFunc(slices.Clone(all), func(o object) bool { return !chains[o.text(of)] })
	}
	return content{chains: only(c.chains, unix.NFTA_CHAIN_NAME), rules: only(c.rules, unix.NFTA_RULE_CHAIN)}.sum(true)
}

// replaced records which of the operator's chains have lost their rules, after the
// table was made in place of one with the content old.
func (t *Table) replaced(old, made content) {
	before, now := old.filled(), made.filled()
	maps.Copy(before, t.jump.filled)
	for name := range before {
		if !now[name] && !slices.Contains(t.jump.lost, name) {
			t.jump.lost = append(t.jump.lost, name)
		}
	}
	slices.Sort(t.jump.lost)
	t.jump.filled = now
	if t.jump.refused != nil {
		t.jump.at = made.operatorSum()
	}
}

// takeJumps returns what happened to the jumps since the last call.
func (t *Table) takeJumps() (j Jumps) {
	j.Lost, t.jump.lost = t.jump.lost, nil
	j.Empty, t.jump.empty = t.jump.empty, nil
	if t.jump.refused != t.jump.reported {
		j.Refused, j.Joined = t.jump.refused, t.jump.refused == nil
		t.jump.reported = t.jump.refused
	}
	return j
}

// Jumps reports events of the jumps to the operator's chains.
type Jumps struct {
	Empty   []string   // chains without rules, when the table was claimed
	Lost    []string   // chains whose rules are gone
	Refused *JumpError // from now on, the services that jump are closed
	Joined  bool       // they no longer are
}

// IsZero reports whether nothing happened, except that chains may be Empty.
func (j Jumps) IsZero() bool { return len(j.Lost) == 0 && j.Refused == nil && !j.Joined }

// Jumps returns what happened to the operator's chains when the table was claimed.
// Later events are part of the Repairs of Keep.
func (t *Table) Jumps() Jumps {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.takeJumps()
}

// jumpsOf returns the chains to which an owned table jumps, and others of the
// operator that have rules.
func (c content) jumpsOf(m ownership) (chains []Chain) {
	all := c.unreserved()
	rules := c.rulesOf(all)
	if m.jumps == "" {
		return nil
	}
	for name := range c.filled() {
		if !slices.Contains(strings.Split(m.jumps, jumpSeparator), name) {
			chains = append(chains, Chain{Name: name, Rules: rules[name]})
		}
	}
	slices.SortFunc(chains, func(a, b Chain) int { return strings.Compare(a.Name, b.Name) })
	for name := range strings.SplitSeq(m.jumps, jumpSeparator) {
		if name != "" {
			chains = append(chains, Chain{name, rules[name], !all[name]})
		}
	}
	return chains
}

// jumpSeparator is between the names in an ownership.
const jumpSeparator = ","

// removeOurs removes all but the operator's part of a table.
func (b builder) removeOurs(old content) {
	theirs := old.unreserved()
	name := func(o object) string { return o.text(unix.NFTA_CHAIN_NAME) }
	for _, c := range old.chains {
		if !theirs[name(c)] {
			b.batch.FlushChain(&nftables.Chain{Table: table, Name: name(c)})
		}
	}
	for _, c := range old.chains {
		if !theirs[name(c)] && !b.base.reusable(c) {
			b.batch.DelChain(&nftables.Chain{Table: table, Name: name(c)})
		}
	}
	for _, s := range old.sets {
		if name := s.text(unix.NFTA_SET_NAME); reserved(name) {
			b.batch.DelSet(&nftables.Set{Table: table, Name: name})
		}
	}
}
