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

// claims is how often the table is made, while other programs change rules in
// the same instant.
const claims = 50

// first makes the table for the first time, and finds out what the kernel can,
// and how it describes the content of the table from now on: by a look after
// which the generation of the kernel's rules is the very next one, so that
// nobody else can have changed anything.
func (t *Table) first() error {
	k, err := openKernel()
	if err != nil {
		return err
	}
	defer k.close()
	var c content
	for i := range claims {
		before, err := k.generation()
		if err != nil {
			return err
		}
		if c, err = k.content(); err != nil {
			return err
		}
		if err := t.build(nil, c); disturbed(err) && i < attempts || errors.Is(err, unix.EOPNOTSUPP) && t.can.less() {
			continue
		} else if err != nil {
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
			t.digest = c.digest()
			return nil
		}
	}
	return errors.New("other programs change the rules of this network without a pause")
}

// less gives up an ability. It reports whether there was one.
func (a *abilities) less() bool {
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

// make makes the table anew, in place of what has been read, with elements and
// the time that they have left, as many as a transaction has room for. It takes
// down what the kernel made of it.
func (t *Table) make(elements outcome, c content) error {
	for i := range claims {
		err := t.build(elements, c)
		if err != nil && (i >= attempts || !disturbed(err)) {
			return err
		}
		var failed error
		if c, failed = read(); failed != nil {
			return failed
		}
		if err != nil {
			continue
		}
		// If another program was there first, once more.
		if m, ok := c.mark(); ok && m == t.mark() && c.digest() == t.digest {
			t.identity = c.identity()
			return nil
		}
	}
	return errors.New("another program changes it as soon as it is made")
}

// disturbed reports whether a transaction failed since somebody has changed the
// table after it was read: what was to be removed is gone, or there is more.
func disturbed(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EBUSY)
}

func (t *Table) mark() mark { return mark{t.owner, t.made, t.digest} }

// build is the transaction that makes the table anew, in place of an old one.
func (t *Table) build(elements outcome, old content) error {
	batch, err := t.batch()
	if err != nil {
		return err
	}
	b := builder{batch, newBase(), t.sets, t.can}
	b.replace(old)
	for _, c := range b.base.all() {
		batch.AddChain(c)
	}
	for _, s := range t.sets.order {
		if err := batch.AddSet(s, nil); err != nil {
			return fmt.Errorf("make the set %s: %w", s.Name, err)
		}
	}
	if err := addPorts(batch, t.sets.except, t.cfg.Except); err != nil {
		return fmt.Errorf("except ports from stealth: %w", err)
	}
	b.build(t.cfg)
	t.made = stampNow()
	b.sign(t.mark())
	if err := t.put(batch, elements); err != nil {
		return err
	}
	return t.commit(batch)
}

// replace empties a table whose base chains are ours, and deletes another. The
// base chains stay: a new one would be asked before the old one, and a packet
// that comes to the first before the transaction, and to the second after it,
// would find both empty (nf_hook_entries_grow in net/netfilter/core.c).
func (b builder) replace(old content) {
	b.batch.AddTable(table) // awake, if it is asleep
	if len(old.table) == 0 {
		return
	}
	if !b.base.keeps(old) {
		b.batch.DelTable(table)
		b.batch.AddTable(table)
		return
	}
	b.batch.FlushTable(table)
	for _, c := range old.chains {
		if c[unix.NFTA_CHAIN_HOOK] == nil {
			b.batch.DelChain(&nftables.Chain{Table: table, Name: c.text(unix.NFTA_CHAIN_NAME)})
		}
	}
	for _, s := range old.sets {
		if flags := s[unix.NFTA_SET_FLAGS]; len(flags) < 4 || flags[3]&unix.NFT_SET_ANONYMOUS == 0 { // those go with their rules
			b.batch.DelSet(&nftables.Set{Table: table, Name: s.text(unix.NFTA_SET_NAME)})
		}
	}
}

// keeps reports whether all that emptying a table leaves is as ours is.
func (b base) keeps(old content) bool {
	if len(old.others) > 0 || old.table[0][tableUserdata] != nil {
		return false
	}
	for _, c := range old.chains {
		if c[unix.NFTA_CHAIN_HOOK] != nil && !b.has(c) {
			return false
		}
	}
	return true
}

// has reports whether a chain is as a base chain of ours.
func (b base) has(c object) bool {
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
	const baseChain = 1 // in the flags, since Linux 5.7: and nothing else
	for _, own := range b.all() {
		if c.text(unix.NFTA_CHAIN_NAME) == own.Name {
			return c.text(unix.NFTA_CHAIN_TYPE) == string(own.Type) && len(hook) == 2 &&
				numbers[unix.NFTA_HOOK_HOOKNUM] == uint32(*own.Hooknum) && int32(numbers[unix.NFTA_HOOK_PRIORITY]) == int32(*own.Priority) &&
				number(c[unix.NFTA_CHAIN_POLICY]) == uint32(*own.Policy) && c[chainUserdata] == nil &&
				(c[chainFlags] == nil || number(c[chainFlags]) == baseChain)
		}
	}
	return false
}

// sign writes the mark.
func (b builder) sign(m mark) {
	c := b.batch.AddChain(&nftables.Chain{Table: table, Name: ownerChain})
	for _, line := range m.lines() {
		b.batch.AddRule(&nftables.Rule{
			Table: table, Chain: c, Exprs: rule(back), UserData: userdata.AppendString(nil, userdata.TypeComment, line),
		})
	}
}

// stampNow is the time of the kernel that a table is stamped with. It is not
// that of a clock that is handed in: other processes compare it.
func stampNow() stamp {
	var at unix.Timespec
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &at) != nil {
		return stamp{}
	}
	return stamp{strings.TrimSpace(string(id)), time.Duration(at.Nano())}
}

// addPorts adds elements to a set of ports, as many a message as fit into one.
func addPorts(batch *nftables.Conn, s *nftables.Set, ports []uint16) error {
	elements := make([]nftables.SetElement, len(ports))
	for i, p := range ports {
		elements[i].Key = binary.BigEndian.AppendUint16(nil, p)
	}
	return inMessages(elements, func(e []nftables.SetElement) error { return batch.SetAddElements(s, e) })
}
