package firewall

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
)

// Claim makes the table, closed, in one transaction. It replaces an existing
// table of that name. If Claim made that table too, there is no instant in
// which a port that both guard is open. There is nothing to close or release:
// the table outlives the process. Claim returns an *OwnedError if the table has
// another owner, or if sallyportd did not make it, unless force is set. It
// replaces a table of the same owner, changed or not, and a table of an earlier
// release. Of a table that jumps to chains of the operator, it keeps these: see
// Port.Jump and Table.Jumps.
//
// Claim ends connections to guarded ports that no grant let in: see
// Table.Strangers.
//
// Claim uses the network namespace of the thread: callers that change
// namespaces lock theirs. It requires CAP_NET_ADMIN, and from the kernel
// nf_tables with ct, reject_inet and fib_inet (4.10 or later), with Stealth
// also socket (4.18).
func Claim(cfg Config, owner Owner, force bool, c clock.Clock) (*Table, error) {
	return claim(cfg, owner, force, c, abilities{labels: true, earlyReject: true})
}

// claim is Claim, restricted to some abilities of the kernel.
func claim(cfg Config, owner Owner, force bool, c clock.Clock, can abilities) (*Table, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("guard ports: %w", err)
	}
	cfg.Ports, cfg.Trusted, cfg.Trial = slices.Clone(cfg.Ports), maps.Clone(cfg.Trusted), maps.Clone(cfg.Trial)
	t := &Table{
		cfg: cfg, owner: owner, clock: c, can: can, sets: newSets(cfg),
		ports:     make(map[access.ServiceID]portSets, len(cfg.Ports)),
		latestEnd: map[element]time.Time{}, confirmed: map[element]time.Time{}, timeouts: targets{},
	}
	for _, p := range cfg.Ports {
		t.ports[p.Service] = p.sets()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	first, err := read()
	if err != nil {
		return nil, fmt.Errorf("inspect the table inet %s: %w", Name, err)
	}
	if otherOwner := first.standing().refusal(owner, t.hasJump()); otherOwner != nil && !force {
		return nil, otherOwner
	}
	t.jump.filled = first.filled()
	if err := t.createFirst(nil); err != nil {
		return nil, fmt.Errorf("make the table inet %s: %w", Name, err)
	}
	if t.canUpdateTimeout, err = t.tryUpdateTimeout(); err != nil {
		return nil, fmt.Errorf("try the table inet %s: %w", Name, err)
	}
	made, err := read()
	if err != nil {
		return nil, err
	}
	if err := t.create(nil, made); err != nil {
		return nil, fmt.Errorf("make the table inet %s: %w", Name, err)
	}
	for _, name := range cfg.jumps() {
		if !t.jump.filled[name] {
			t.jump.empty = append(t.jump.empty, name)
		}
	}
	if t.strangers, err = t.endUngranted(); err != nil {
		return nil, err
	}
	if err := t.noteEarlier(); err != nil {
		return nil, err
	}
	return t, nil
}

// Strangers returns the number of connections to guarded ports that Claim ended
// because no grant let them in: they were made while the table was missing.
func (t *Table) Strangers() int { return t.strangers }

// refusal returns an error if an owner may not replace the table.
func (s Standing) refusal(owner Owner, jumps bool) error {
	switch {
	case s.Kind == Owned && s.Owner.Config != owner.Config:
		return &OwnedError{Owned, s.Owner}
	case s.Kind == Foreign, s.Kind == Prepared && !jumps:
		return &OwnedError{Kind: Foreign}
	}
	return nil
}

// Clear removes the table, which opens all ports. If there is no table, Clear
// returns nil.
func Clear() error {
	batch, err := newBatch()
	if err != nil {
		return err
	}
	batch.AddTable(table) // so that the table exists and can be deleted
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

// bufferSize is enough for the largest batch, and for the events that the
// kernel sends about it. Without privileges over the whole host, the kernel's
// net.core.rmem_max limits it, and so the ports of a Claim: the kernel then
// returns ENOBUFS.
const bufferSize = 4 << 20

// newBatch begins a transaction. The batch has no socket until it is sent.
func newBatch(options ...nftables.SockOption) (*nftables.Conn, error) {
	room := func(c *netlink.Conn) error {
		return errors.Join(c.SetWriteBuffer(bufferSize), c.SetReadBuffer(bufferSize))
	}
	batch, err := nftables.New(nftables.WithSockOptions(append(options, room)...))
	if err != nil {
		return nil, fmt.Errorf("open an nf_tables socket: %w", explain(err))
	}
	return batch, nil
}

// explain adds to an error of the kernel what it means.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("CAP_NET_ADMIN is required: %w", err)
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("the kernel does not support nf_tables, or not the family inet: %w", err)
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("the table was removed, or the kernel lacks one of nft_ct, nft_reject_inet, nft_fib_inet and nft_socket: %w", err)
	}
	return err
}
