package firewall

import (
	"encoding/binary"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"golang.org/x/sys/unix"

	"sallyport/sessions/gate/access"
)

// MaxGrants is the number of elements that each set of grants has room for.
// Only clients that knocked correctly fill it; a further element makes Apply
// fail with ENFILE.
const MaxGrants = 1 << 20

// The sets that belong to no single port.
const (
	knockSet    = "knock"    // UDP ports that are open for knocks
	exceptSet   = "except"   // UDP ports that Stealth leaves alone
	settlingSet = "settling" // guarded UDP ports, shortly after a gap
	probeSet    = "trial"    // exists for a moment, to try the kernel
)

// isSettling reports whether a set, by its name, only shows that a gap has just
// ended: its elements let nothing in.
func isSettling(set string) bool {
	return set == settlingSet || strings.HasSuffix(set, "_"+settlingSet)
}

// sets are the sets of one table. Rules and elements identify them by table and
// name. Each service has separate sets, whatever the number of its ports: nft 1.0.6
// cannot print a rule that compares anything but parts of a packet with a
// concatenation, or masks one of them.
type sets struct {
	named                   map[string]*nftables.Set
	order                   []*nftables.Set // as they are made
	knock, except, settling *nftables.Set
}

// portSets are the sets of sources that may reach a port.
type portSets struct {
	granted4, granted6, granted6net *nftables.Set // source address, of IPv4 its first bits; granted6net: its network
	anyone                          *nftables.Set // family
	// Of a port that requires an initial sequence number; it has no other sets.
	isn4, isn6 *nftables.Set // source address and sequence number
	// Of a service whose port rotates; it has no other sets.
	drawn *drawnSets

	prefixLen4 int // of the peers of IPv4
}

// admits reports whether a change has an initial sequence number if, and only if, the
// port requires one, and a peer of IPv4 the right length. A revocation without a number,
// without a drawn port, or of another length, is of no element.
func (s portSets) admits(c access.Change) bool {
	if p := c.Peer.Prefix; p.Addr().Is4() && !c.Peer.IsAnyone() && p.Bits() != s.prefixLen4 && !c.Revokes() {
		return false
	}
	if s.isn4 == nil {
		return c.Peer.ISN == 0
	}
	return c.Peer.Prefix.IsSingleIP() && (c.Peer.ISN != 0 || c.Revokes())
}

func (s portSets) all() []*nftables.Set {
	switch {
	case s.drawn != nil:
		return s.drawn.all()
	case s.isn4 != nil:
		return []*nftables.Set{s.isn4, s.isn6}
	}
	return []*nftables.Set{s.granted4, s.granted6, s.granted6net, s.anyone}
}

var table = &nftables.Table{Name: Name, Family: nftables.TableFamilyINet}

func newSets(cfg Config) sets {
	s := sets{named: map[string]*nftables.Set{}}
	for _, p := range cfg.Ports {
		s.add(p.sets().all()...)
		if p.Protocol == UDP && !p.single() && !p.filtersReplies() {
			s.add(familySet(p.settlingSet()))
		}
		if cfg.onTrial(p) {
			s.add(familySet(p.trialSet()))
		}
	}
	if cfg.stealthOnTrial() {
		s.add(familySet(stealthTrialSet))
	}
	ports := func(name string, timeout bool) *nftables.Set {
		set := grantSet(name, nftables.TypeInetService)
		set.HasTimeout, set.Size = timeout, 1<<16
		return set
	}
	s.knock, s.except, s.settling = ports(knockSet, true), ports(exceptSet, false), ports(settlingSet, true)
	s.add(s.knock, s.except, s.settling)
	return s
}

func (s *sets) add(all ...*nftables.Set) {
	for _, set := range all {
		s.named[set.Name] = set
		s.order = append(s.order, set)
	}
}

func grantSet(name string, key nftables.SetDatatype) *nftables.Set {
	return &nftables.Set{
		Table: table, Name: name, KeyType: key, KeyByteOrder: binaryutil.BigEndian,
		HasTimeout: true, Size: MaxGrants,
	}
}

// sets are the descriptions of a port's sets.
func (p Port) sets() portSets {
	if p.rotates() {
		return portSets{drawn: p.drawnSets(), prefixLen4: p.prefixLen4()}
	}
	if p.RequireISN {
		return portSets{
			prefixLen4: p.prefixLen4(),
			isn4:       concatSet(p.name()+"_isn4", typeISN4), isn6: concatSet(p.name()+"_isn6", typeISN6),
		}
	}
	return portSets{
		prefixLen4:  p.prefixLen4(),
		granted4:    grantSet(p.name()+"_granted4", nftables.TypeIPAddr),
		granted6:    grantSet(p.name()+"_granted6", nftables.TypeIP6Addr),
		granted6net: grantSet(p.name()+"_granted6net", nftables.TypeIP6Addr),
		anyone:      familySet(p.name() + "_anyone"),
	}
}

func familySet(name string) *nftables.Set {
	s := grantSet(name, nftables.TypeNFProto)
	s.KeyByteOrder = nil // as nft has it
	return s
}

// withTimeouts returns the sets whose elements come and go: all but one.
func (s sets) withTimeouts() []*nftables.Set {
	var timed []*nftables.Set
	for _, set := range s.order {
		if set.HasTimeout {
			timed = append(timed, set)
		}
	}
	return timed
}

// grant returns the element that lets a peer reach the port. Packets have no
// zone: a link-local address matches on every link.
func (s portSets) grant(to access.Peer) element {
	a := to.Prefix.Addr()
	switch {
	case s.drawn != nil:
		return s.drawn.grant(to)
	case s.isn4 != nil && a.Is4():
		return element{s.isn4.Name, isnKey(to)}
	case s.isn4 != nil:
		return element{s.isn6.Name, isnKey(to)}
	case to == access.Anyone4:
		return element{s.anyone.Name, string([]byte{unix.NFPROTO_IPV4})}
	case to == access.Anyone6:
		return element{s.anyone.Name, string([]byte{unix.NFPROTO_IPV6})}
	case a.Is4():
		return element{s.granted4.Name, string(a.AsSlice())}
	case to.Prefix.IsSingleIP():
		return element{s.granted6.Name, string(a.AsSlice())}
	}
	return element{s.granted6net.Name, string(a.AsSlice())}
}

// settlingSet returns the name of the set that shows that answers from a port may
// still belong to a gap.
func (p Port) settlingSet() string {
	if p.single() {
		return settlingSet
	}
	return p.name() + "_" + settlingSet
}

// settling returns the elements of that set. Several ports share one of each
// family, however many there are.
func (p Port) settling() []element {
	set := p.settlingSet()
	if p.single() {
		return []element{{set, string(binary.BigEndian.AppendUint16(nil, p.Port))}}
	}
	return []element{{set, string([]byte{unix.NFPROTO_IPV4})}, {set, string([]byte{unix.NFPROTO_IPV6})}}
}
