package firewall

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"sallyport/sessions/gate/access"
)

// trustChain returns the name of the chain that accepts packets of trusted peers,
// and returns for all others.
func (p Port) trustChain() string { return p.name() + "_trusted" }

// trust makes the chain of a port's trusted peers, without rules if there are none:
// SetTrusted changes only the rules.
func (b builder) trust(p Port, t Trusted) {
	c := b.batch.AddChain(&nftables.Chain{Table: table, Name: p.trustChain()})
	b.trustRules(c, t)
}

func (b builder) trustRules(c *nftables.Chain, t Trusted) {
	var label match
	if b.can.labels {
		label = setLabel(labelTrusted)
	}
	for _, n := range t.Networks {
		b.rule(c, from(n), label, accept)
	}
	for _, name := range t.Interfaces {
		b.rule(c, arrivesOn(name), label, accept)
	}
}

// SetTrusted replaces the trusted peers of all services. Grants are not affected.
// No further packet of a peer that is no longer trusted passes, whatever its
// connection, unless a grant lets it in.
func (t *Table) SetTrusted(next map[access.ServiceID]Trusted) error {
	for _, of := range next {
		if err := of.Validate(); err != nil {
			return fmt.Errorf("change the trusted peers: %w", err)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if maps.EqualFunc(t.cfg.Trusted, next, Trusted.Equal) {
		return nil
	}
	if err := t.setTrusted(maps.Clone(next)); err != nil {
		return fmt.Errorf("change the trusted peers: %w", err)
	}
	return nil
}

func (t *Table) setTrusted(next map[access.ServiceID]Trusted) error {
	before := t.cfg.Trusted
	k, err := openKernel()
	if err != nil {
		return err
	}
	defer k.close()
	pure := false
	for i := 0; ; i++ {
		if pure, err = t.replaceTrusted(k, next); err == nil {
			break
		}
		if i == attempts || !isConflict(err) {
			return err
		}
	}
	t.cfg.Trusted = next
	if !pure {
		// Another program changed rules in between: the content is not certain.
		err = t.remake(k)
	}
	if err != nil {
		t.cfg.Trusted = before // Keep makes the earlier table again
		return err
	}
	_, err = t.endUngranted()
	return err
}

// replaceTrusted changes the table, and records its new content. It reports whether
// no other program can have changed the table since it was intact.
func (t *Table) replaceTrusted(k kernel, next map[access.ServiceID]Trusted) (pure bool, err error) {
	generation, err := k.generation()
	if err != nil {
		return false, err
	}
	if r, err := t.restore(); err != nil || r.Fault != "" {
		// It was not intact: compare again.
		t.unreported = r
		return false, errors.Join(err, r.Err, unix.EBUSY)
	}
	batch, err := t.batch()
	if err != nil {
		return false, err
	}
	b := builder{batch: batch, can: t.can}
	for _, p := range t.cfg.Ports {
		if !p.listens() && !p.proxied() && !t.cfg.Trusted[p.Service].Equal(next[p.Service]) {
			c := &nftables.Chain{Table: table, Name: p.trustChain()}
			batch.FlushChain(c)
			b.trustRules(c, next[p.Service])
		}
	}
	if err := t.commit(batch); err != nil {
		return false, err
	}
	c, err := k.content()
	if err != nil {
		return false, nil
	}
	if after, err := k.generation(); err != nil || after != generation+1 {
		return false, nil
	}
	digest := c.digest()
	if batch, err = t.batch(); err != nil {
		return false, nil
	}
	batch.FlushChain(&nftables.Chain{Table: table, Name: ownerChain})
	b.batch = batch
	b.sign(t.ownershipOf(digest))
	if err := t.commit(batch); err != nil {
		return false, nil
	}
	if c, err = k.content(); err != nil || c.digest() != digest {
		return false, nil
	}
	t.digest, t.identity = digest, c.identity()
	return true, nil
}

// remake makes the table, with the grants, and finds out how the kernel describes
// it. For a moment it may lack grants beyond MaxChanges.
func (t *Table) remake(k kernel) error {
	open, _ := t.openElements()
	if err := t.createFirst(open); err != nil {
		return err
	}
	c, err := k.content()
	if err != nil {
		return err
	}
	if err := t.recreate(false, c); err != nil {
		return err
	}
	return t.addMissing()
}

// from matches packets from a network, in the form that nft has: it compares whole
// bytes if the network consists of such.
func from(n netip.Prefix) match {
	address, bits := n.Addr().AsSlice(), n.Bits()
	field := &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: uint32(len(address))}
	which := family(unix.NFPROTO_IPV4)
	if len(address) == 16 {
		field.Offset, which = 8, family(unix.NFPROTO_IPV6)
	}
	if bits%8 == 0 {
		field.Len = uint32(bits / 8)
		return append(which, field, equal(address[:bits/8]...))
	}
	mask := make([]byte, len(address))
	for i := range bits {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return append(which, field,
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: field.Len, Mask: mask, Xor: make([]byte, len(address))},
		equal(address...))
}

// arrivesOn matches packets that arrive on an interface.
func arrivesOn(name string) match {
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return match{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, equal(padded...)}
}
