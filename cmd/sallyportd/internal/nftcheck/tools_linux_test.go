package nftcheck

import (
	"os/exec"
	"strings"
	"testing"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/config/configtest"
)

// Beginnings of rulesets.
const (
	closedNft = "add table inet f\nadd chain inet f input { type filter hook input priority 0; policy drop; }\nadd rule inet f input "
	openNft   = "add table inet f\nadd chain inet f input { type filter hook input priority 0; }\nadd rule inet f input "
	again     = "\nadd rule inet f input "
)

// TestRulesThatHostsHave compares the warnings with rules as administrators and
// tools write them, for nft and for both variants of iptables.
func TestRulesThatHostsHave(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"nft", "iptables-nft", "iptables-legacy", "ip6tables-nft", "ip6tables-legacy"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("needs " + tool)
		}
	}
	if !netns.Enter(t) {
		return
	}
	outside := netns.NewHost(t)
	netns.Connect(t, netns.End{Name: "eth0", Addresses: []string{"10.71.0.1/24", "fd71::1/64"}}, outside,
		netns.End{Name: "up", Addresses: []string{"10.71.0.2/24", "fd71::2/64"}})
	if err := routeBy("10.71.0.2", "fd71::2"); err != nil {
		t.Fatal(err)
	}
	inside := netns.NewHost(t)
	netns.Connect(t, netns.End{Name: "lan0", Addresses: []string{"10.72.0.1/24"}}, inside, netns.End{Name: "up", Addresses: []string{"10.72.0.2/24"}})
	run := func(t *testing.T, line string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "sh", "-ec", line).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	clear := func(t *testing.T) {
		run(t, "nft flush ruleset; for t in iptables-legacy ip6tables-legacy; do for n in filter nat mangle raw; do $t -t $n -F; $t -t $n -X; done; for c in INPUT FORWARD; do $t -P $c ACCEPT; done; done")
	}
	host := config.Host{FilterTCP: true, FirstOpenPort: 1024}
	check := func(t *testing.T, service, want string) {
		t.Helper()
		got := joined(Check(configtest.Parse(t, "", service), host))
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
	web := proxy(":8080")
	for _, row := range []struct{ name, rules, want string }{
		{"the interface accepts", closedNft + `iifname "eth0" udp dport 1025-65535 accept` + again + "tcp dport 8080 accept", ""},
		{"all of an interface", closedNft + `iif "eth0" accept`, ""},
		{"another interface accepts", closedNft + `iifname "lan0" accept`, "drops knocks: no rule accepts them, and its policy is drop"},
		{"the interface drops", openNft + `iifname "eth0" udp dport 1025-65535 drop`, `drops knocks: the rule "iifname "eth0" udp dport 1025-65535 drop" (handle 2 of chain "inet f input")`},
		{"another interface drops", openNft + `iifname "lan0" drop`, ""},
		{"not that interface", openNft + `iifname != "eth0" drop`, ""},
		{"a pattern of interfaces", openNft + `iifname "eth*" udp dport 1025-65535 drop`, "drops knocks"},
		{"a set of interfaces", closedNft + `iifname { "eth0", "wlan0" } accept`, ""},
		{"a map of interfaces", "add table inet f\nadd chain inet f wan\nadd rule inet f wan meta l4proto { tcp, udp } th dport { 8080, 1025-65535 } accept\n" +
			closedNft + `iifname vmap { "eth0" : jump wan, "lan0" : accept }`, ""},
		{"both protocols", closedNft + `meta l4proto { tcp, udp } th dport 1025-65535 accept`, ""},
		{"two rules share the ports", closedNft + "udp dport 1025-30000 accept" + again + "udp dport 30001-65535 accept" + again + "tcp dport 8080 accept", ""},
		{"all but a few are accepted", closedNft + "udp dport != 5353 accept" + again + "tcp dport 8080 accept", "drops some knocks, to ports 5353"},
		{"a few are dropped first", openNft + "udp dport { 5353, 2000-3000 } drop", "drops some knocks, to ports 2000-3000, 5353"},
		{"ports of a protocol, as one key", closedNft + "meta l4proto . th dport { tcp . 8080, udp . 1025-65535 } accept", ""},
		{"an address with ports, as one key", closedNft + "ip daddr . udp dport { 10.71.0.1 . 1025-65535 } accept" + again + "meta nfproto ipv6 accept" + again + "tcp dport 8080 accept", ""},
		{"new connections are accepted", closedNft + "ct state new udp dport 1025-65535 accept" + again + "ct state new tcp dport 8080 accept", ""},
		{"new connections are dropped", openNft + "ct state established,related accept" + again + "ct state new drop", `the rule "ct state new drop"`},
		{"a map of states", closedNft + "ct state vmap { established : accept, related : accept, invalid : drop }" + again + "ct state vmap { new : accept }", ""},
		{"a map of states that drops", openNft + "ct state vmap { established : accept, new : drop }", "drops knocks"},
		{"a limit drops", openNft + "udp dport 1025-65535 limit rate over 5/second drop", `may drop knocks: the rule "udp dport 1025-65535 limit drop"`},
		{"a limit accepts", closedNft + "udp dport 1025-65535 limit rate 5/second accept" + again + "tcp dport 8080 accept", "may drop knocks: its policy is drop, and the first rule that may accept them is"},
		{"a meter drops", "add table inet f\nadd set inet f seen { type ipv4_addr; flags dynamic; size 100; timeout 1m; }\n" + openNft + "udp dport 1025-65535 update @seen { ip saddr limit rate over 5/second } drop", "may drop knocks"},
		{"a list of sources", "add table inet f\nadd set inet f seen { type ipv4_addr; flags dynamic; size 100; timeout 1m; }\n" + openNft + "udp dport 1025-65535 add @seen { ip saddr } accept", ""},
		{"too many connections", openNft + "tcp dport 8080 ct count over 5 drop", "may drop packets for service site"},
		{"blocked sources", "add table inet f\nadd set inet f bad { type ipv4_addr; flags interval; elements = { 192.0.2.0/24 }; }\n" + openNft + "ip saddr @bad drop" + again + "ip saddr 203.0.113.7 reject" + again + "ip6 saddr 2001:db8::/32 drop", ""},
		{"only some sources", openNft + "ip saddr != 192.0.2.0/24 drop", `may drop knocks: the rule "ip saddr != 192.0.2.0/24 drop"`},
		{"all sources but some", closedNft + "ip saddr != 192.0.2.0/24 accept" + again + "meta nfproto ipv6 accept", ""},
		{"forged sources", openNft + "fib saddr . iif oif missing drop" + again + "fib saddr . iif oif eq 0 drop", ""},
		{"not to this host", openNft + "fib daddr type != local drop" + again + "meta pkttype { broadcast, multicast } drop", ""},
		{"a mark that no rule sets", openNft + "meta mark 7 drop", ""},
		{"a mark that a rule may set", openNft + "udp dport 1025-65535 meta mark set 7" + again + "meta mark 7 drop", "may drop knocks"},
		{"extension headers", openNft + "exthdr rt exists drop" + again + "rt type 0 drop", ""},
		{"answers of a DHCP server", closedNft + "udp sport 67 udp dport 68 accept", "drops knocks: no rule accepts them"},
		{"another bit of a mark", openNft + "udp dport 1025-65535 meta mark set meta mark | 0x4000" + again + "meta mark & 0x8000 == 0x8000 drop", ""},
		{"that bit of a mark", openNft + "udp dport 1025-65535 meta mark set meta mark | 0x4000" + again + "meta mark & 0xc000 != 0 drop", "may drop knocks"},
		{"one in two", openNft + "numgen random mod 2 == 0 drop", "may drop knocks"},
		{"a bare segment", closedNft + "tcp flags & (fin|syn|rst|ack) == syn tcp dport 8080 accept" + again + "udp dport 1025-65535 accept", ""},
		{"jump and return", "add table inet f\nadd chain inet f in\nadd rule inet f in udp dport 1025-65535 return\nadd rule inet f in tcp dport 8080 return\nadd rule inet f in drop\n" + openNft + "jump in", ""},
		{"goto, and the policy", "add table inet f\nadd chain inet f in\nadd rule inet f in tcp dport 22 accept\n" + closedNft + "goto in", "drops knocks: no rule accepts them"},
		{"all IPv6", openNft + "meta nfproto ipv6 drop", `drops knocks over IPv6: the rule`},
	} {
		t.Run(row.name, func(t *testing.T) {
			nftLoad(t, row.rules)
			check(t, web, row.want)
		})
	}
	clear(t)
	const closes = "$t -P INPUT DROP; "
	for _, row := range []struct{ name, rules, want string }{
		{"empty", "$t -L", ""},
		{"a list of ports", closes + "$t -A INPUT -p udp -m multiport --dports 1025:30000,30001:65535 -j ACCEPT; $t -A INPUT -p tcp -m multiport --dports 22,8080 -j ACCEPT", ""},
		{"half a list of ports", closes + "$t -A INPUT -p udp -m multiport --dports 1025:30000 -j ACCEPT; $t -A INPUT -p tcp -j ACCEPT", "drops some knocks, to ports 30001-65535"},
		{"a list of ports drops", "$t -A INPUT -p udp -m multiport --dports 5000:6000,7000 -j DROP", "drops some knocks, to ports 5000-6000, 7000"},
		{"not a list of ports", "$t -A INPUT -p udp -m multiport ! --dports 1025:65535 -j DROP", ""},
		{"new, with a comment", closes + "$t -A INPUT -i eth0 -m comment --comment knocks -m conntrack --ctstate NEW -p udp --dport 1025:65535 -j ACCEPT; $t -A INPUT -p tcp --syn --dport 8080 -m state --state NEW -j ACCEPT", ""},
		{"new is dropped", "$t -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT; $t -A INPUT -m conntrack --ctstate NEW -j DROP", `the rule "ct state new drop"`},
		{"invalid is dropped", "$t -A INPUT -m conntrack --ctstate INVALID -j DROP; $t -A INPUT -m state --state INVALID -j DROP", ""},
		{"the interface", closes + "$t -A INPUT -i eth0 -j ACCEPT", ""},
		{"interfaces by a pattern", closes + "$t -A INPUT -i eth+ -j ACCEPT", ""},
		{"another interface", closes + "$t -A INPUT -i lan0 -j ACCEPT", "drops knocks"},
		{"all but the interface", "$t -A INPUT ! -i eth0 -j DROP", ""},
		{"a limit", closes + "$t -A INPUT -m limit --limit 5/s -j ACCEPT", "may drop knocks: its policy is drop"},
		{"a hashlimit", "$t -A INPUT -p udp -m hashlimit --hashlimit-above 5/s --hashlimit-name x --hashlimit-mode srcip -j DROP", "may drop knocks"},
		{"recent", "$t -A INPUT -p tcp --dport 8080 -m recent --name x --update --seconds 60 --hitcount 4 -j DROP", "may drop packets for service site"},
		{"connlimit", "$t -A INPUT -p tcp --dport 8080 -m connlimit --connlimit-above 3 -j REJECT", "may drop packets for service site"},
		{"a mark that no rule sets", "$t -A INPUT -m mark --mark 0x8000/0x8000 -j DROP", ""},
		{"a mark", "$t -t mangle -A PREROUTING -p udp -j MARK --set-mark 7; $t -A INPUT -m mark --mark 7 -j DROP", "may drop knocks"},
		{"another bit of a mark", "$t -t mangle -A PREROUTING -p udp -j MARK --set-xmark 0x4000/0x4000; $t -A INPUT -m mark --mark 0x8000/0x8000 -j DROP", ""},
		{"types of addresses", "$t -N not-local; $t -A INPUT -j not-local; $t -A not-local -m addrtype --dst-type LOCAL -j RETURN; $t -A not-local -j DROP", ""},
		{"types of packets", "$t -A INPUT -m pkttype --pkt-type broadcast -j DROP", ""},
		{"jump and goto", closes + "$t -N in; $t -N ports; $t -A INPUT -g in; $t -A in -p udp -j ports; $t -A in -p tcp --dport 8080 -j ACCEPT; $t -A ports -p udp --dport 1025:65535 -j ACCEPT", ""},
		{"rejects all at the end", "$t -A INPUT -p tcp --dport 8080 -j ACCEPT; $t -A INPUT -j REJECT", `drops knocks: the rule "reject"`},
		{"before tracking", "$t -t raw -A PREROUTING -p udp --dport 1025:65535 -j DROP", "-t raw -I PREROUTING -p udp --dport 1025:65535 -j ACCEPT\" accepts them"},
		{"one that nothing explains", "$t -A INPUT -m u32 --u32 0=1 -j ACCEPT; $t -A INPUT -p udp --dport 5000 -j DROP", "may drop knocks"},
		{"a source", "$t -A INPUT -s SOURCE -j DROP", ""},
		{"every source but one", "$t -A INPUT ! -s SOURCE -j DROP", "may drop knocks"},
	} {
		for _, tool := range []string{"iptables-nft", "iptables-legacy", "ip6tables-nft", "ip6tables-legacy"} {
			t.Run(row.name+", "+tool, func(t *testing.T) {
				clear(t)
				source := "192.0.2.1"
				if strings.HasPrefix(tool, "ip6") {
					source = "2001:db8::1"
				}
				run(t, strings.ReplaceAll("t="+tool+"; "+row.rules, "SOURCE", source))
				check(t, web, row.want)
			})
		}
	}
	clear(t)
	t.Run("untracked knocks", func(t *testing.T) {
		guarded := guard(":8080")
		nftLoad(t, closedNft+"ct state new accept")
		check(t, guarded, "drops knocks: no rule accepts them")
		nftLoad(t, closedNft+"ct state { new, untracked } accept")
		check(t, guarded, "")
		clear(t)
		run(t, "iptables-legacy -P INPUT DROP; iptables-legacy -A INPUT -m conntrack --ctstate NEW -j ACCEPT")
		check(t, guarded, "\"ip filter INPUT\" drops knocks: no rule")
		run(t, "iptables-legacy -A INPUT -m conntrack --ctstate UNTRACKED -j ACCEPT")
		check(t, guarded, "")
	})
	clear(t)
	t.Run("several ports", func(t *testing.T) {
		several := strings.Replace(guard(":21"), `":21"`, `[":21", ":50000-50100"]`, 1)
		nftLoad(t, closedNft+"udp dport 1025-65535 accept"+again+"tcp dport { 21, 50000-50100 } accept")
		check(t, several, "")
		nftLoad(t, closedNft+"udp dport 1025-65535 accept"+again+"tcp dport { 21, 50000-50050 } accept")
		check(t, several, `drops some packets for service site, to ports 50051-50100: no rule accepts them, and its policy is drop; "nft insert rule inet f input tcp dport { 21,50000-50100 } accept" accepts them`)
		clear(t)
		run(t, "iptables-nft -A INPUT -p tcp --dport 21 -j DROP")
		check(t, several, `"iptables -I INPUT -p tcp -m multiport --dports 21,50000:50100 -j ACCEPT" accepts them`)
	})
	clear(t)
	t.Run("redirects of iptables-legacy", func(t *testing.T) {
		run(t, "iptables-legacy -t nat -A PREROUTING -p tcp --dport 8080 -j DNAT --to-destination 10.72.0.2:80")
		check(t, web, `the rule "tcp dport 8080 dnat to 10.72.0.2:80" of chain "ip nat PREROUTING" (number 1) redirects its port to 10.72.0.2:80`)
		run(t, "iptables-legacy -t nat -F; iptables-legacy -t nat -A PREROUTING -p udp --dport 2000:60000 -j REDIRECT --to-ports 53")
		check(t, web, `redirects knocks to ports 2000 to 60000 to port 53 of this host`)
	})
	clear(t)
}
