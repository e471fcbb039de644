package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// createAttempts is how often the table is made, while other programs
// change rules at the same instant.
const createAttempts = 50

// createAndLearn makes the table for the first time. It finds out which abilities
// the kernel has, and how it describes the content of the table: it reads the
// content, and accepts the result only if the generation of the kernel's rules
// is the very next one, so that no other program can have changed anything.
//
// Keep leaves the operator's chains.
func (t *Table) createAndLearn(elements targets, keep bool) error {
	k, err := openKernel()
	if err != nil {
		return err
	}
	defer k.close()
	var c content
	for i := range createAttempts {
		before, err := k.generation()
		if err != nil {
			return err
		}
		if c, err = k.content(); err != nil {
			return err
		}
		err = t.createOnce(elements, c, keep)
		if isConflict(err) && i < attempts || errors.Is(err, unix.EOPNOTSUPP) && !t.jump.learned && t.can.reduce() {
			continue
		}
		if err != nil {
			return err
		}
		if c, err = k.content(); err != nil {
			return err
		}
		after, err := k.generation()
		if err != nil {
			return err
		}
		if after == before+1 {
			t.digest, t.jump.learned = c.digest(), true
			return nil
		}
	}
	return errChanging
}

// errChanging means that other programs change rules all the time: it is not known
// what the kernel made of the table.
var errChanging = errors.New("other programs keep changing the rules of this network namespace")

// reduce gives up an ability. It reports whether there was one to give up.
func (a *abilities) reduce() bool {
	switch {
	case a.labels && a.earlyReject:
		a.earlyReject = false
	case a.labels:
		a.labels, a.earlyReject = false, true
	case a.earlyReject:
		a.earlyReject = false
	default:
		return false
	}
	return true
}

// create makes the table again, in place of one with the content c, with
// elements and the time that they have left, at most MaxChanges of them. It
// records the kernel's handles.
func (t *Table) create(elements targets, c content) error {
	old := c
	for i := range createAttempts {
		err := t.createOnce(elements, c, t.hasJump())
		if err != nil && (i >= attempts || !isConflict(err)) {
			return err
		}
		var failed error
		if c, failed = read(); failed != nil {
			return failed
		}
		if err != nil {
			continue
		}
		// If another program has changed it already, make it again.
		if m, ok := c.ownership(); ok && m == t.ownership() && c.digest() == t.digest {
			t.identity = c.identity()
			t.replaced(old, c)
			return nil
		}
	}
	return errors.New("another program changes it immediately after it is made")
}

// isConflict reports whether a transaction failed because another program
// changed the table after it was read: an object to remove does not exist, or
// there are further objects.
func isConflict(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EBUSY)
}

func (t *Table) ownership() ownership { return t.ownershipOf(t.digest) }

// createOnce is one transaction that makes the table, in place of an old one.
// Keep leaves the operator's part of the old one.
func (t *Table) createOnce(elements targets, old content, keep bool) error {
	if t.cfg.redirects() && !t.can.labels {
		return errNoRedirect
	}
	if len(t.cfg.Trial) > 0 && !t.can.labels {
		return ErrTrialLabels
	}
	batch, err := t.batch()
	if err != nil {
		return err
	}
	b := builder{batch, newBase().withDrawn(t.cfg.redirects(), t.cfg.listens()), t.sets, t.can, t.jump.refused != nil}
	b.removeOld(old, keep)
	for _, c := range b.base.all() {
		batch.AddChain(c)
	}
	for _, s := range t.sets.order {
		if err := addSet(batch, s); err != nil {
			return err
		}
	}
	if err := addPorts(batch, t.sets.except, t.cfg.Except); err != nil {
		return fmt.Errorf("except ports from stealth: %w", err)
	}
	b.addRules(t.cfg)
	t.made = stampNow()
	b.sign(t.ownership())
	if err := errors.Join(t.addElements(batch, elements), t.addTrials(batch)); err != nil {
		return err
	}
	return t.commit(batch)
}

// removeOld empties a table whose base chains are ours, and deletes another. A base
// chain of ours that the new table does not require is deleted alone.
// Our base chains stay: the kernel would run a new one before the old one, and
// a packet that reaches the new one before the transaction, and the old one
// after it, would find both empty (nf_hook_entries_grow in
// net/netfilter/core.c).
func (b builder) removeOld(old content, keep bool) {
	b.batch.AddTable(table) // also clears the flag "dormant"
	if len(old.table) == 0 {
		return
	}
	if keep {
		b.removeOurs(old)
		return
	}
	if !b.base.allReusable(old) {
		b.batch.DelTable(table)
		b.batch.AddTable(table)
		return
	}
	b.batch.FlushTable(table)
	// Maps before chains, to which they may lead.
	for _, s := range old.sets {
		flags := s[unix.NFTA_SET_FLAGS]
		if anonymous := len(flags) >= 4 && flags[3]&unix.NFT_SET_ANONYMOUS != 0; !anonymous {
			b.batch.DelSet(&nftables.Set{Table: table, Name: s.text(unix.NFTA_SET_NAME)})
		}
	}
	for _, c := range old.chains {
		if (c[unix.NFTA_CHAIN_HOOK] == nil || !b.base.has(c.text(unix.NFTA_CHAIN_NAME))) && !c.isInRule() {
			b.batch.DelChain(&nftables.Chain{Table: table, Name: c.text(unix.NFTA_CHAIN_NAME)})
		}
	}
}

// isInRule reports whether a chain is a part of a rule, and is removed with it.
func (o object) isInRule() bool {
	flags := o[chainFlags]
	return len(flags) == 4 && flags[3]&chainBinding != 0
}

// allReusable reports whether everything that remains in an emptied table is
// the same as in ours.
func (b base) allReusable(old content) bool {
	if len(old.foreign) > 0 {
		return false
	}
	every := newBase().withDrawn(true, true)
	for _, c := range old.chains {
		if c[unix.NFTA_CHAIN_HOOK] != nil && !every.reusable(c) {
			return false
		}
	}
	return true
}

// reusable reports whether a chain is the same as one of our base chains.
func (b base) reusable(c object) bool {
	hook, err := netlink.UnmarshalAttributes(c[unix.NFTA_CHAIN_HOOK])
	if err != nil {
		return false
	}
	number := func(b []byte) uint32 {
		if len(b) != 4 {
			return 1 << 31
		}
		return binary.BigEndian.Uint32(b)
	}
	numbers := map[uint16]uint32{}
	for _, a := range hook {
		numbers[a.Type&attributeTypeMask] = number(a.Data)
	}
	const baseChain = 1 // the only flag, since Linux 5.7
	for _, own := range b.all() {
		if c.text(unix.NFTA_CHAIN_NAME) == own.Name {
			return c.text(unix.NFTA_CHAIN_TYPE) == string(own.Type) && len(hook) == 2 &&
				numbers[unix.NFTA_HOOK_HOOKNUM] == uint32(*own.Hooknum) &&
				int32(numbers[unix.NFTA_HOOK_PRIORITY]) == int32(*own.Priority) &&
				number(c[unix.NFTA_CHAIN_POLICY]) == uint32(*own.Policy) && c[chainUserdata] == nil &&
				(c[chainFlags] == nil || number(c[chainFlags]) == baseChain)
		}
	}
	return false
}

// sign writes the ownership.
func (b builder) sign(m ownership) {
	c := b.batch.AddChain(&nftables.Chain{Table: table, Name: ownerChain})
	for _, line := range m.lines() {
		b.batch.AddRule(&nftables.Rule{
			Table: table, Chain: c, Exprs: rule(ret), UserData: userdata.AppendString(nil, userdata.TypeComment, line),
		})
	}
}

// stampNow returns the kernel's time for a stamp. It does not use an injected
// clock, because other processes compare it.
func stampNow() stamp {
	var at unix.Timespec
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &at) != nil {
		return stamp{}
	}
	return stamp{strings.TrimSpace(string(id)), time.Duration(at.Nano())}
}

// addPorts adds elements to a set of ports, as many per message as fit.
func addPorts(batch *nftables.Conn, s *nftables.Set, ports []uint16) error {
	elements := make([]nftables.SetElement, len(ports))
	for i, p := range ports {
		elements[i].Key = binary.BigEndian.AppendUint16(nil, p)
	}
	return inMessages(elements, func(e []nftables.SetElement) error { return batch.SetAddElements(s, e) })
}
