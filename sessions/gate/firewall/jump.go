package firewall

import (
	"fmt"
	"slices"
	"strings"
)

// MaxJump is the number of characters that the name of an operator's chain may have.
const MaxJump = 31

// ValidateJump returns an error if a chain of the operator cannot have a name: this
// package has chains or sets with such names, or nft cannot read it, so that
// the operator could not add a rule. The error begins with "got".
func ValidateJump(name string) error {
	letter := func(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
	valid := name != "" && len(name) <= MaxJump && letter(name[0])
	for i := range len(name) {
		c := name[i]
		valid = valid && (letter(c) || '0' <= c && c <= '9' || c == '_' || c == '-')
	}
	switch {
	case len(name) > MaxJump:
		return fmt.Errorf("got %q, with %d characters", name, len(name))
	case !valid:
		return fmt.Errorf("got %q", name)
	case reserved(name):
		return fmt.Errorf("got %q, the name of a chain or set that sallyportd itself may make", name)
	case slices.Contains(strings.Fields(keywords), name):
		return fmt.Errorf("got %q, a word of nft, which cannot read it as a name", name)
	}
	return nil
}

// ourNames are names of chains and sets of this package, also of earlier releases, in
// addition to those that begin with ourPrefixes.
var ourNames = []string{
	"prerouting", "guard", "input", "forward", "output", "postrouting", "owner", "stealth",
	"drawn", "drawn_local", "late",
	"knock", "except", "settling", "trial",
	"granted4", "granted6", "granted6net", "anyone4", "anyone6",
}

var ourPrefixes = []string{"tcp_", "udp_"}

// reserved reports whether a chain or set of this package has a name, or may have
// it in a later release. All other chains and sets of a table that jumps are the
// operator's.
func reserved(name string) bool {
	return slices.Contains(ourNames, name) ||
		slices.ContainsFunc(ourPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// keywords are the words of nft that cannot be the name of a chain: those of
// version 1.0.6, among them those that it cannot read in some commands only, such as
// "list chain"; and in the last line those of later versions.
const keywords = `
	accept add ah all and arp auto-merge bridge cgroup chain comment comp constant continue counter
	cpu create ct day dccp define delete describe device devices dnat drop dst dup dynamic ecn element
	elements eq esp ether exists expires export exthdr fib flags flow flowtable flush frag fwd
	gc-interval ge get goto handle hbh hook hour ibriport ibrname icmp icmpv6 igmp iif iifgroup
	iifname iiftype import include index inet insert interval ip ip6 ipsec jhash jump le limit list
	log lt map mark masquerade meta meter mh missing monitor ne netdev nftrace not notrack numgen
	obriport obrname offload oif oifgroup oifname oiftype or osf pkttype policy position priority
	queue quota random redefine redirect reject rename replace reset return rt rt0 rt2 rtclassid rule
	ruleset sctp secmark set size skgid skuid snat socket srh symhash synproxy table tcp th time
	chains counters flowtables hooks limits maps meters quotas secmarks sets synproxys tables
	timeout tproxy type typeof udp udplite undefine update vlan vmap xt
	destroy geneve gre gretap vxlan
`

// jumps returns the chains of the operator to which the services jump.
func (c Config) jumps() (names []string) {
	for _, p := range c.Ports {
		if p.Jump != "" && !slices.Contains(names, p.Jump) {
			names = append(names, p.Jump)
		}
	}
	slices.Sort(names)
	return names
}
