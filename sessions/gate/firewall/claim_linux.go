package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
)

// Claim makes the table anew, closed, in one transaction: it takes the place of
// whatever table of that name there is. If that was made by Claim, there is no
// instant in which a port that both guard is open. Nothing has to be closed or
// released; the table outlives the process.
//
// The network is that of the thread: callers that move between namespaces lock
// theirs. It needs CAP_NET_ADMIN, and of the kernel nf_tables with ct,
// reject_inet and fib_inet (4.10 or later), with Stealth also socket (4.18).
func Claim(cfg Config, c clock.Clock) (*Table, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("guard ports: %w", err)
	}
	batch, err := newBatch()
	if err != nil {
		return nil, err
	}
	b := builder{batch, newBase(), newSets()}
	if err := b.replace(); err != nil {
		return nil, err
	}
	batch.AddChain(b.base.prerouting)
	batch.AddChain(b.base.input)
	if cfg.forwards() {
		batch.AddChain(b.base.forward)
	}
	if cfg.Captured != ([2]uint16{}) {
		batch.AddChain(b.base.output)
	}
	for _, s := range b.sets.all() {
		if err := batch.AddSet(s, nil); err != nil {
			return nil, fmt.Errorf("make the set %s: %w", s.Name, err)
		}
	}
	if err := addPorts(batch, b.sets.except, cfg.Except); err != nil {
		return nil, fmt.Errorf("except ports from stealth: %w", err)
	}
	b.build(cfg)
	if err := commit(batch); err != nil {
		return nil, fmt.Errorf("make the table inet %s: %w", Name, err)
	}
	cfg.Ports = slices.Clone(cfg.Ports)
	t := &Table{cfg: cfg, clock: c, ports: make(map[access.ServiceID]Port, len(cfg.Ports)), sets: b.sets, ends: map[element]time.Time{}, open: map[element]time.Time{}}
	for _, p := range cfg.Ports {
		t.ports[p.Service] = p
	}
	if t.renews, err = renews(); err != nil {
		return nil, fmt.Errorf("try the table inet %s: %w", Name, err)
	}
	return t, nil
}

// renews tries whether the timeout of an element can be changed.
func renews() (bool, error) {
	batch, err := newBatch()
	if err != nil {
		return false, err
	}
	set := &nftables.Set{Table: table, Name: "trial", KeyType: nftables.TypeInetService, HasTimeout: true}
	if err := batch.AddSet(set, nil); err != nil {
		return false, err
	}
	const first, second = time.Hour, 2 * time.Hour
	for _, d := range []time.Duration{first, second} {
		if err := batch.SetAddElements(set, []nftables.SetElement{{Key: []byte{0, 1}, Timeout: d}}); err != nil {
			return false, err
		}
		if err := commit(batch); err != nil {
			return false, err
		}
	}
	elements, err := batch.GetSetElements(set)
	if err != nil {
		return false, explain(err)
	}
	batch.DelSet(set)
	return len(elements) == 1 && elements[0].Timeout == second, commit(batch)
}

// replace empties a table that Claim made, and deletes another. Its base chains
// stay: a new one would be asked before the old one, and a packet that comes to
// the first before the transaction, and to the second after it, would find both
// empty (nf_hook_entries_grow in net/netfilter/core.c).
func (b builder) replace() error {
	present, err := b.present()
	if err != nil {
		return err
	}
	b.batch.AddTable(table)
	if !present {
		return nil
	}
	chains, err := b.batch.ListChainsOfTableFamily(table.Family)
	if err != nil {
		return fmt.Errorf("list the kernel's chains: %w", explain(err))
	}
	chains = slices.DeleteFunc(chains, func(c *nftables.Chain) bool { return c.Table.Name != Name })
	if slices.ContainsFunc(chains, func(c *nftables.Chain) bool { return c.Hooknum != nil && !b.base.has(c) }) {
		b.batch.DelTable(table)
		b.batch.AddTable(table)
		return nil
	}
	sets, err := b.batch.GetSets(table)
	if err != nil {
		return fmt.Errorf("list the sets of inet %s: %w", Name, explain(err))
	}
	b.batch.FlushTable(table)
	for _, c := range chains {
		if c.Hooknum == nil {
			b.batch.DelChain(c)
		}
	}
	for _, s := range sets {
		if !s.Anonymous { // those go with their rules
			b.batch.DelSet(s)
		}
	}
	return nil
}

// has reports whether a chain is as a base chain of ours.
func (b base) has(c *nftables.Chain) bool {
	for _, own := range []*nftables.Chain{b.prerouting, b.input, b.forward, b.output} {
		if c.Name == own.Name {
			return c.Type == own.Type && *c.Hooknum == *own.Hooknum && *c.Priority == *own.Priority &&
				c.Policy != nil && *c.Policy == *own.Policy
		}
	}
	return false
}

// Clear removes the table, and so opens all ports. No table is no error.
func Clear() error {
	batch, err := newBatch()
	if err != nil {
		return err
	}
	batch.AddTable(table) // there is something to delete in any case
	batch.DelTable(table)
	if err := commit(batch); err != nil {
		return fmt.Errorf("remove the table inet %s: %w", Name, err)
	}
	return nil
}

// Present reports whether there is a table of our name.
func Present() (bool, error) {
	batch, err := newBatch()
	if err != nil {
		return false, err
	}
	return builder{batch: batch}.present()
}

func (b builder) present() (bool, error) {
	tables, err := b.batch.ListTablesOfFamily(table.Family)
	if err != nil {
		return false, fmt.Errorf("list the kernel's tables: %w", explain(err))
	}
	return slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == Name }), nil
}

// bufferSize has room for the largest batch, and for what the kernel tells of
// it. Without privileges over the whole host it is the kernel's net.core.rmem_max
// that limits the ports of a Claim: then it says ENOBUFS.
const bufferSize = 4 << 20

// newBatch begins a transaction. It holds no socket until it is sent.
func newBatch() (*nftables.Conn, error) {
	batch, err := nftables.New(nftables.WithSockOptions(func(c *netlink.Conn) error {
		return errors.Join(c.SetWriteBuffer(bufferSize), c.SetReadBuffer(bufferSize))
	}))
	if err != nil {
		return nil, fmt.Errorf("speak to nf_tables: %w", explain(err))
	}
	return batch, nil
}

// commit sends a transaction. If it fails, nothing of it applies.
func commit(batch *nftables.Conn) error { return explain(batch.Flush()) }

// explain says what of the kernel an error means.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("it takes CAP_NET_ADMIN: %w", err)
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("the kernel has no nf_tables, or not for the family inet: %w", err)
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("the table is gone, or the kernel lacks one of nft_ct, nft_reject_inet, nft_fib_inet and nft_socket: %w", err)
	}
	return err
}

// addPorts adds elements to a set of ports, as many a message as fit into one.
func addPorts(batch *nftables.Conn, s *nftables.Set, ports []uint16) error {
	elements := make([]nftables.SetElement, len(ports))
	for i, p := range ports {
		elements[i].Key = binary.BigEndian.AppendUint16(nil, p)
	}
	return inMessages(elements, func(e []nftables.SetElement) error { return batch.SetAddElements(s, e) })
}
