package firewall

import (
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
// released; the table outlives the process. The table of another owner, and one
// that is not ours, is refused with an *OwnedError, unless force is set. That
// of the same owner is replaced, whatever has become of it, and so is one of an
// earlier release.
//
// Connections to guarded ports that no grant has let in end: see Table.Strangers.
//
// The network is that of the thread: callers that move between namespaces lock
// theirs. It needs CAP_NET_ADMIN, and of the kernel nf_tables with ct,
// reject_inet and fib_inet (4.10 or later), with Stealth also socket (4.18).
func Claim(cfg Config, owner Owner, force bool, c clock.Clock) (*Table, error) {
	return claim(cfg, owner, force, c, abilities{labels: true, earlyReject: true})
}

// claim is Claim, with no more than some abilities of the kernel.
func claim(cfg Config, owner Owner, force bool, c clock.Clock, can abilities) (*Table, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("guard ports: %w", err)
	}
	cfg.Ports = slices.Clone(cfg.Ports)
	t := &Table{
		cfg: cfg, owner: owner, clock: c, can: can, ports: make(map[access.ServiceID]portSets, len(cfg.Ports)), sets: newSets(cfg),
		ends: map[element]time.Time{}, open: map[element]time.Time{}, timeouts: outcome{},
	}
	for _, p := range cfg.Ports {
		t.ports[p.Service] = p.sets()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	found, err := Inspect()
	if err != nil {
		return nil, err
	}
	if taken := found.refuses(owner); taken != nil && !force {
		return nil, taken
	}
	if err := t.first(); err != nil {
		return nil, fmt.Errorf("make the table inet %s: %w", Name, err)
	}
	if t.renews, err = t.tryRenewal(); err != nil {
		return nil, fmt.Errorf("try the table inet %s: %w", Name, err)
	}
	made, err := read()
	if err != nil {
		return nil, err
	}
	if err := t.make(nil, made); err != nil {
		return nil, fmt.Errorf("make the table inet %s: %w", Name, err)
	}
	if t.strangers, err = t.cut(); err != nil {
		return nil, err
	}
	return t, nil
}

// Strangers is how many connections to guarded ports Claim has ended, since no
// grant had let them in: they were made while the table was not there.
func (t *Table) Strangers() int { return t.strangers }

// refuses says why an owner may not have the table, if so.
func (s Standing) refuses(owner Owner) error {
	switch {
	case s.Kind == Owned && s.Owner.Config != owner.Config:
		return &OwnedError{Owned, s.Owner}
	case s.Kind == Foreign:
		return &OwnedError{Kind: Foreign}
	}
	return nil
}

// Clear removes the table, and so opens all ports. No table is no error.
func Clear() error {
	batch, err := newBatch()
	if err != nil {
		return err
	}
	batch.AddTable(table) // there is something to delete in any case
	batch.DelTable(table)
	if err := explain(batch.Flush()); err != nil {
		return fmt.Errorf("remove the table inet %s: %w", Name, err)
	}
	return nil
}

// Present reports whether there is a table of our name.
func Present() (bool, error) {
	k, err := openKernel()
	if err != nil {
		return false, err
	}
	defer k.close()
	tables, err := k.list(unix.NFT_MSG_GETTABLE)
	if err != nil {
		return false, fmt.Errorf("list the kernel's tables: %w", err)
	}
	return len(tables) > 0, nil
}

// bufferSize has room for the largest batch, and for what the kernel tells of
// it. Without privileges over the whole host it is the kernel's net.core.rmem_max
// that limits the ports of a Claim: then it says ENOBUFS.
const bufferSize = 4 << 20

// newBatch begins a transaction. It holds no socket until it is sent.
func newBatch(options ...nftables.SockOption) (*nftables.Conn, error) {
	room := func(c *netlink.Conn) error {
		return errors.Join(c.SetWriteBuffer(bufferSize), c.SetReadBuffer(bufferSize))
	}
	batch, err := nftables.New(nftables.WithSockOptions(append(options, room)...))
	if err != nil {
		return nil, fmt.Errorf("speak to nf_tables: %w", explain(err))
	}
	return batch, nil
}

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
