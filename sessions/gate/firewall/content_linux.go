package firewall

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// ownerChain has a rule without effect for each line of the table's ownership.
// No packet reaches it.
const ownerChain = "owner"

// content is the whole table, without the elements of sets that come and go.
type content struct {
	table         []object // one, or none
	chains, rules []object
	sets, foreign []object // foreign: objects that we never make
	excepted      []byte   // elements of the set of that name
}

// read reads the table, as it was at one moment if other programs let that happen: each of
// the parts is read by itself. While others commit transactions all the time, the parts may
// be of different moments: a caller that must exclude that compares the kernel's generation.
func read() (content, error) {
	k, err := openKernel()
	if err != nil {
		return content{}, err
	}
	defer k.close()
	for tries := 1; ; tries++ {
		before, err := k.generation()
		if err != nil {
			return content{}, err
		}
		c, failed := k.content()
		after, err := k.generation()
		if err != nil {
			return content{}, err
		}
		if before == after || tries == maxReads {
			return c, failed
		}
	}
}

// maxReads limits the attempts to read a table that others change.
const maxReads = 10

func (k kernel) content() (c content, err error) {
	for _, ask := range []struct {
		message uint16
		into    *[]object
	}{
		{unix.NFT_MSG_GETTABLE, &c.table}, {unix.NFT_MSG_GETCHAIN, &c.chains}, {unix.NFT_MSG_GETRULE, &c.rules},
		{unix.NFT_MSG_GETSET, &c.sets}, {unix.NFT_MSG_GETOBJ, &c.foreign}, {unix.NFT_MSG_GETFLOWTABLE, &c.foreign},
	} {
		found, err := k.list(ask.message)
		if err != nil {
			return content{}, err
		}
		if *ask.into = append(*ask.into, found...); len(c.table) == 0 {
			return content{}, nil
		}
	}
	delete(c.table[0], tableUserdata) // a comment
	for _, s := range c.sets {
		if bytes.Equal(s[unix.NFTA_SET_USERDATA], noByteOrder) {
			delete(s, unix.NFTA_SET_USERDATA)
		}
	}
	if !c.hasSet(exceptSet) {
		return c, nil
	}
	batch, err := newBatch()
	if err != nil {
		return content{}, err
	}
	elements, err := elementsOf(batch, &nftables.Set{Table: table, Name: exceptSet})
	if err != nil {
		return content{}, err
	}
	slices.SortFunc(elements, func(a, b nftables.SetElement) int { return bytes.Compare(a.Key, b.Key) })
	for _, e := range elements {
		c.excepted = append(c.excepted, e.Key...)
	}
	return c, nil
}

// noByteOrder is the byte order that nft writes for keys of one byte. The
// library writes none.
var noByteOrder = userdata.AppendUint32(nil, userdata.NFTNL_UDATA_SET_KEYBYTEORDER, 0)

func (c content) hasSet(name string) bool {
	return slices.ContainsFunc(c.sets, func(s object) bool { return s.text(unix.NFTA_SET_NAME) == name })
}

// ownership returns the description that the table contains of itself.
func (c content) ownership() (ownership, bool) {
	var lines []string
	for _, r := range c.rules {
		if r.text(unix.NFTA_RULE_CHAIN) == ownerChain {
			line, _ := userdata.GetString(r[unix.NFTA_RULE_USERDATA], userdata.TypeComment)
			lines = append(lines, line)
		}
	}
	return parseOwnership(lines)
}

// digest is equal for two tables that filter equally: it excludes handles and
// the ownership.
func (c content) digest() string { return c.sum(false) }

// identity also differs if an object was removed and made again.
func (c content) identity() string { return c.sum(true) }

func (c content) sum(identity bool) string {
	c = c.own()
	h := sha256.New()
	add := func(kind byte, all []object, handle uint16, of ...uint16) {
		for _, o := range all {
			b := o.append([]byte{kind}, of...)
			if identity {
				b = o.append(b, handle)
			}
			h.Write(b)
		}
	}
	rules := c.rules
	if !identity {
		owner := func(r object) bool { return r.text(unix.NFTA_RULE_CHAIN) == ownerChain }
		rules = slices.DeleteFunc(slices.Clone(rules), owner)
	}
	// The order of rules in a chain matters; that of chains and sets does not.
	sorted := func(all []object, by uint16) []object {
		return slices.SortedStableFunc(slices.Values(all), func(a, b object) int { return bytes.Compare(a[by], b[by]) })
	}
	add('t', c.table, tableHandle, unix.NFTA_TABLE_FLAGS, tableUserdata)
	add('c', sorted(c.chains, unix.NFTA_CHAIN_NAME), unix.NFTA_CHAIN_HANDLE,
		unix.NFTA_CHAIN_NAME, unix.NFTA_CHAIN_HOOK, unix.NFTA_CHAIN_POLICY, unix.NFTA_CHAIN_TYPE,
		chainFlags, chainUserdata)
	add('r', sorted(rules, unix.NFTA_RULE_CHAIN), unix.NFTA_RULE_HANDLE,
		unix.NFTA_RULE_CHAIN, unix.NFTA_RULE_EXPRESSIONS, unix.NFTA_RULE_COMPAT, unix.NFTA_RULE_USERDATA)
	add('s', sorted(c.sets, unix.NFTA_SET_NAME), setHandle,
		unix.NFTA_SET_NAME, unix.NFTA_SET_FLAGS, unix.NFTA_SET_KEY_TYPE, unix.NFTA_SET_KEY_LEN,
		unix.NFTA_SET_DATA_TYPE, unix.NFTA_SET_DATA_LEN, unix.NFTA_SET_POLICY,
		unix.NFTA_SET_DESC, unix.NFTA_SET_TIMEOUT,
		unix.NFTA_SET_GC_INTERVAL, unix.NFTA_SET_USERDATA, unix.NFTA_SET_OBJ_TYPE, setExpr, setExprs)
	add('o', c.foreign, attributeName, attributeName)
	h.Write(c.excepted)
	return hex.EncodeToString(h.Sum(nil))
}

// standing classifies the table.
func (c content) standing() Standing {
	if len(c.table) == 0 {
		return Standing{Kind: Absent}
	}
	m, ok := c.ownership()
	s := Standing{Kind: Foreign, digest: c.digest()}
	switch {
	case ok:
		s.Kind, s.Owner, s.Intact, s.made = Owned, m.owner, m.content == s.digest, m.made
		s.Chains, s.Refused = c.jumpsOf(m), m.refused
		s.hidden, s.tries = c.hidden(), slices.ContainsFunc(c.sets, func(o object) bool { return isTrial(o.text(unix.NFTA_SET_NAME)) })
	case c.isPrepared():
		s.Kind, s.Chains = Prepared, c.jumpsOf(ownership{jumps: jumpSeparator})
	case c.isEarlier():
		s.Kind = Earlier
	}
	return s
}

// hidden returns the chains that hide ports, or drop other UDP, and not on trial.
func (c content) hidden() (names []string) {
	for _, o := range c.chains {
		name := o.text(unix.NFTA_CHAIN_NAME)
		switch {
		case name == stealthChain && !c.hasSet(stealthTrialSet), portChain.MatchString(name) && !c.hasSet(name+trialSuffix):
			names = append(names, name)
		}
	}
	return names
}

// isEarlier reports whether an earlier release made the table, which wrote no
// ownership. It had these sets, and a rule in each of these chains.
func (c content) isEarlier() bool {
	for _, name := range []string{"granted4", "granted6", "granted6net", "anyone4", "anyone6", "knock", "except"} {
		if !c.hasSet(name) {
			return false
		}
	}
	for _, name := range []string{"prerouting", "input"} {
		base := func(o object) bool { return o.text(unix.NFTA_CHAIN_NAME) == name && o[unix.NFTA_CHAIN_HOOK] != nil }
		if !slices.ContainsFunc(c.chains, base) {
			return false
		}
	}
	return true
}

// Inspect returns what table of our name the kernel has. It requires
// CAP_NET_ADMIN.
func Inspect() (Standing, error) {
	c, err := read()
	if err != nil {
		return Standing{}, fmt.Errorf("inspect the table inet %s: %w", Name, err)
	}
	return c.standing(), nil
}
