package nftcheck

import (
	"errors"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/config/configtest"
	"sallyport/sessions/clock"
	"sallyport/sessions/gate/firewall"
)

// expressions are matches and statements of nftables of all kinds. None may
// keep the rules beside it from being read.
var expressions = []string{
	"ct original ip daddr 10.0.0.1", "ct original proto-dst 22", "ct reply bytes > 1000", "ct original packets > 3", "ct original zone 1", "ct direction reply",
	"ct state invalid", "ct status dnat", "ct mark 1", "ct label 1", "ct bytes > 5", "ct zone 1", "ct count over 5", "ct expiration > 1s", "ct helper \"ftp\"",
	"numgen random mod 2 == 0", "jhash ip saddr mod 2 == 0", "quota over 10 mbytes", "socket transparent 1", "osf name \"Linux\"", "fib saddr . iif oif missing",
	"tcp option maxseg size 500", "tcp flags syn", "meta time > \"2020-01-01 00:00:00\"", "ip dscp cs1", "limit rate 5/second", "meta cgroup 5", "exthdr hbh exists", "rt classid 1", "ip option rr exists",
	"meta ipsec exists", "@th,16,16 22", "@nh,64,8 6", "@ih,0,8 1", "meta nftrace set 1", "meta mark set 1", "ct mark set 1", "log prefix \"x\"", "log group 5", "counter", "notrack", "meta pkttype broadcast",
	"ether saddr 00:11:22:33:44:55", "vlan id 5", "tcp dport != { 22, 80 }", "ip saddr != 10.0.0.0/8", "ip saddr & 0xff == 1", "tcp dport vmap { 22 : drop, 23 : continue }", "ip saddr . tcp dport { 10.0.0.1 . 22 }",
	"queue num 5", "dup to 10.0.0.9 device lo", "th dport 22", "ip6 nexthdr tcp", "iif lo", "oifname eth0", "meta skuid 5", "meta random < 5", "meta hour > \"10:00\"", "update @seen { ip saddr limit rate 5/second }",
	"add @seen { ip saddr }", "tcp option maxseg size set 1400", "ip ttl set 5", "tcp sport 1-1023", "ip length > 100", "icmp type echo-request", "sctp dport 5", "dccp type request", "ah spi 5", "igmp type 17", "udp checksum set 0",
}

// TestEveryKindOfExpression: whatever a rule asks for, the rule after it is
// judged, and no warning calls a part unreadable.
func TestEveryKindOfExpression(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft")
	}
	if !netns.Enter(t) {
		return
	}
	cfg := configtest.Parse(t, "", guard(":22", input))
	read := 0
	for _, x := range expressions {
		rules := "add table inet f\nadd set inet f seen { type ipv4_addr; flags dynamic; size 100; timeout 1m; }\nadd chain inet f pre { type filter hook prerouting priority raw; }\n" +
			"add rule inet f pre " + x + "\nadd chain inet f input { type filter hook input priority 0; }\nadd rule inet f input " + x + "\nadd rule inet f input udp dport 1025-65535 drop"
		for _, chain := range []string{"add rule inet f pre ", "add rule inet f input "} { // some belong in one of them
			only := strings.Replace(rules, chain+x+"\n", "", 1)
			cmd := exec.CommandContext(t.Context(), "nft", "-f", "-")
			cmd.Stdin = strings.NewReader("flush ruleset\n" + only + "\n")
			if cmd.Run() != nil {
				continue // this kernel or this nft has none
			}
			read++
			found := joined(Check(cfg, config.Host{FilterTCP: true}))
			if !strings.Contains(found, `"inet f input" drops knocks`) || strings.Contains(found, "cannot be read") {
				t.Errorf("%s: %s", x, found)
			}
		}
	}
	if read < len(expressions) {
		t.Errorf("only %d rules were made, of %d kinds", read, len(expressions))
	}
}

// TestOwnTable: what this program itself makes hides no other rules.
func TestOwnTable(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	cfg := configtest.Parse(t, "", "stealth = true\n"+guard("10.71.0.1:22", forward)+strings.Replace(guard(":53", forward, udp), "site", "dns", 1))
	nftLoad(t, "add table inet f\nadd chain inet f input { type filter hook input priority 0; policy drop; }")
	if _, err := firewall.Claim(cfg.Firewall(), firewall.Owner{Config: cfg.Path}, false, clock.System()); err != nil {
		t.Fatal(err)
	}
	found := Check(cfg, config.Host{FilterTCP: true})
	if len(found) != 1 {
		t.Errorf("%q", found)
	}
	for _, w := range found {
		if !strings.Contains(w.Text, `the firewall chain "inet f input" drops knocks: no rule accepts them, and its policy is drop`) {
			t.Errorf("%q", w)
		}
	}
}

// recorded answers dumps from messages.
type recorded map[uint16][][]byte

func (r recorded) dump(kind uint16, _ byte, _ []byte) ([][]byte, error) {
	if kind == unix.NFT_MSG_GETSETELEM && r[kind] == nil {
		return nil, syscall.ENOENT
	}
	return r[kind], nil
}

func attr(kind uint16, data ...byte) []byte {
	b := appendText(nil, kind, string(data))[:attributeHeader+len(data)]
	b[0] = byte(len(b))
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func join(parts ...[]byte) (all []byte) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func attrText(kind uint16, s string) []byte { return attr(kind, append([]byte(s), 0)...) }

// unknownRules has a chain at hook input with a rule of each list of
// expressions, and a rule that drops everything after them.
func unknownRules(lists ...[]byte) recorded {
	const inet = unix.NFPROTO_INET
	r := recorded{unix.NFT_MSG_GETCHAIN: {join([]byte{inet, 0, 0, 0}, attrText(unix.NFTA_CHAIN_TABLE, "f"), attrText(unix.NFTA_CHAIN_NAME, "in"), attrText(unix.NFTA_CHAIN_TYPE, "filter"),
		attr(unix.NFTA_CHAIN_HOOK, join(attr(unix.NFTA_HOOK_HOOKNUM, 0, 0, 0, 1), attr(unix.NFTA_HOOK_PRIORITY, 0, 0, 0, 0))...))}}
	drop := attr(1, join(attrText(unix.NFTA_EXPR_NAME, "immediate"), attr(unix.NFTA_EXPR_DATA, join(attr(unix.NFTA_IMMEDIATE_DREG, 0, 0, 0, 0),
		attr(unix.NFTA_IMMEDIATE_DATA, attr(dataVerdict, attr(verdictCode, 0, 0, 0, 0)...)...))...))...)
	for i, list := range append(lists, drop) {
		r[unix.NFT_MSG_GETRULE] = append(r[unix.NFT_MSG_GETRULE], join([]byte{inet, 0, 0, 0}, attrText(unix.NFTA_RULE_TABLE, "f"), attrText(unix.NFTA_RULE_CHAIN, "in"),
			attr(unix.NFTA_RULE_HANDLE, 0, 0, 0, 0, 0, 0, 0, byte(i+1)), attr(unix.NFTA_RULE_EXPRESSIONS, list...)))
	}
	return r
}

// TestWhatCannotBeRead is named once, and hides nothing.
func TestWhatCannotBeRead(t *testing.T) {
	of := func(name string, data ...byte) []byte {
		return attr(1, join(attrText(unix.NFTA_EXPR_NAME, name), attr(unix.NFTA_EXPR_DATA, data...))...)
	}
	cfg := configtest.Parse(t, "", guard(":22", input))
	for _, row := range []struct {
		name string
		list []byte
		want string
	}{
		{"a new expression", of("teleport", attr(1, 0, 0, 0, 1)...), `rule 1 (handle 1) of chain "inet f in": expression "teleport"`},
		{"a cut expression", of("cmp", 40, 0, 1, 0, 9), `rule 1 (handle 1) of chain "inet f in": an expression is truncated`},
		{"a set that is not there", join(of("payload", join(attr(unix.NFTA_PAYLOAD_DREG, 0, 0, 0, 1), attr(unix.NFTA_PAYLOAD_BASE, 0, 0, 0, 2), attr(unix.NFTA_PAYLOAD_OFFSET, 0, 0, 0, 2), attr(unix.NFTA_PAYLOAD_LEN, 0, 0, 0, 2))...),
			of("lookup", join(attrText(unix.NFTA_LOOKUP_SET, "gone"), attr(unix.NFTA_LOOKUP_SREG, 0, 0, 0, 1))...)), `set "gone", which chain "inet f in" uses, does not exist`},
		{"a target of iptables", of("target", attrText(unix.NFTA_TARGET_NAME, "TELEPORT")...), `target "TELEPORT" of iptables`},
	} {
		r, err := read(unknownRules(row.list))
		if err != nil {
			t.Fatal(err)
		}
		drops := joined(r.drops(cfg, false, addresses{}))
		// A rule that cannot be read may accept all packets.
		drops = strings.ReplaceAll(drops, "may drop", "drops")
		if !strings.Contains(drops, `"inet f in" drops knocks`) || !strings.Contains(drops, `"inet f in" drops packets for service site`) {
			t.Errorf("%s: hides the next rule: %q", row.name, drops)
		}
		if got := r.unreadable(); len(got) != 1 || !strings.HasSuffix(got[0], row.want) {
			t.Errorf("%s: %q", row.name, got)
		}
	}
}

func TestManyPlacesThatCannotBeRead(t *testing.T) {
	var lists [][]byte
	for range 20 {
		lists = append(lists, attr(1, attrText(unix.NFTA_EXPR_NAME, "teleport")...))
	}
	r, err := read(unknownRules(lists...))
	if err != nil {
		t.Fatal(err)
	}
	r.drops(configtest.Parse(t, "", guard(":22", input)), false, addresses{})
	if got := r.unreadable(); len(got) != maxUnread+1 || !strings.Contains(got[maxUnread], "15 more parts") {
		t.Errorf("%q", got)
	}
}

// FuzzRuleset: other programs write what the kernel reports.
func FuzzRuleset(f *testing.F) {
	f.Add([]byte{}, []byte{}, uint16(22))
	for kind := range uint16(8) {
		f.Add(attr(1, join(attrText(unix.NFTA_EXPR_NAME, "lookup"), attr(unix.NFTA_EXPR_DATA, join(attrText(1, "s"), attr(2, 0, 0, 0, byte(kind)), attr(3, 0, 0, 0, byte(kind)))...))...), attr(kind, 1, 2, 3), uint16(kind))
	}
	for _, name := range []string{"meta", "payload", "cmp", "range", "bitwise", "immediate", "nat", "redir", "tproxy", "fib", "ct", "match", "target"} {
		f.Add(attr(1, join(attrText(unix.NFTA_EXPR_NAME, name), attr(unix.NFTA_EXPR_DATA, join(attr(1, 0, 0, 0, 1), attr(2, 0, 0, 0, 2), attr(3, 0, 0, 0, 2), attr(4, 0, 0, 0, 1), attr(5, 0, 0, 0, 9))...))...), []byte{}, uint16(443))
	}
	cfg := configtest.Parse(f, "", guard(":22", input)+strings.Replace(proxy(":80"), "site", "web", 1))
	f.Fuzz(func(t *testing.T, list, elements []byte, port uint16) {
		from := unknownRules(list, list)
		head := []byte{unix.NFPROTO_INET, 0, 0, 0}
		from[unix.NFT_MSG_GETSET] = [][]byte{join(head, attrText(unix.NFTA_SET_TABLE, "f"), attrText(unix.NFTA_SET_NAME, "s"), attr(unix.NFTA_SET_KEY_LEN, 0, 0, byte(port>>8), byte(port))), join(head, elements)}
		from[unix.NFT_MSG_GETSETELEM] = [][]byte{join(head, attr(unix.NFTA_SET_ELEM_LIST_ELEMENTS, elements...)), join(head, elements)}
		r, err := read(from)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range r.chains {
			c.kind, c.hook = []string{"filter", "nat"}[port%2], uint32(port/2%3)
		}
		r.drops(cfg, false, addresses{})
		r.around(cfg, config.Host{}, addresses{forwards: map[byte]bool{}})
		r.unreadable()
	})
}

// TestChangingRuleset reads a ruleset that changes while it is read.
func TestChangingRuleset(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	nftLoad(t, "add table inet f\nadd chain inet f input { type filter hook input priority 0; policy drop; }\nadd set inet f s { type inet_service; elements = { 5 } }\nadd rule inet f input udp dport @s drop")
	judged := 0
	change := func(r *ruleset) {
		judged++
		nftAdd(t, "add rule inet f input counter")
		r.setOf(r.chains[0], "s")
	}
	if err := use(change); !errors.Is(err, errChanging) || judged != attempts {
		t.Errorf("changes each time: %v, after %d readings", err, judged)
	}
	judged = 0
	if err := use(func(r *ruleset) {
		if judged++; judged == 1 {
			nftAdd(t, "add rule inet f input counter")
		}
		r.setOf(r.chains[0], "s")
	}); err != nil || judged != 2 {
		t.Errorf("changes once: %v, after %d readings", err, judged)
	}
}

func nftAdd(t *testing.T, line string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "nft", line).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
