package nftcheck

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"sallyport/bench/netns"
)

const firstPort, lastPort = 2000, 2007

// TestKernelAgrees compares the verdicts with those of the kernel, for random
// rules: what is dropped for sure never arrives, and what no rule may drop does.
func TestKernelAgrees(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft")
	}
	if !netns.Enter(t) {
		return
	}
	hosts := map[string]*netns.Host{"eth0": netns.NewHost(t), "lan0": netns.NewHost(t)}
	own := map[string]string{"eth0": "10.71.0.1", "lan0": "10.72.0.1"}
	for name, h := range hosts {
		netns.Connect(t, netns.End{Name: name, Addresses: []string{own[name] + "/24"}}, h,
			netns.End{Name: "up", Addresses: []string{own[name][:len(own[name])-1] + "2/24"}})
	}
	rapid.Check(t, func(t *rapid.T) {
		rules := randomRules(t)
		probe := "add table inet probe\nadd set inet probe seen { type ifname . inet_service; }\nadd chain inet probe in { type filter hook input priority 300; }\nadd rule inet probe in meta l4proto udp add @seen { iifname . udp dport }\n"
		probe += "add set inet probe came { type ifname . inet_service; }\nadd chain inet probe pre { type filter hook prerouting priority -400; }\nadd rule inet probe pre meta l4proto udp add @came { iifname . udp dport }\n"
		rules = loadPossible(t, "flush ruleset\n"+probe, rules)
		for name, h := range hosts {
			if err := h.Do(func() error { return sendAll(own[name]) }); err != nil {
				t.Fatal(err)
			}
		}
		if n := strings.Count(nft(t, "list set inet probe came"), " . "); n < 2*(lastPort-firstPort+1) {
			t.Fatalf("only %d packets came", n)
		}
		seen := nft(t, "list set inet probe seen")
		err := use(func(r *ruleset) {
			for name := range hosts {
				i, err := net.InterfaceByName(name)
				if err != nil {
					t.Fatal(err)
				}
				p := packet{protocol: unix.IPPROTO_UDP, low: firstPort, high: lastPort, family: unix.NFPROTO_IPV4, address: netip.MustParseAddr(own[name]),
					local: true, stranger: true, in: anInterface{name, uint32(i.Index)}}
				w := walk{ruleset: r, packet: p, typical: true}
				w.enter(r.byName[inF("input")], p.ports())
				var may ports
				for _, d := range w.drops {
					may = may.or(d.ports)
				}
				for port := firstPort; port <= lastPort; port++ {
					one := ports{{port, port}}
					arrived := strings.Contains(seen, fmt.Sprintf("%q . %d", name, port))
					if arrived && len(w.dropped.and(one)) > 0 || !arrived && len(may.and(one)) == 0 {
						t.Errorf("%s %d: arrived %t, dropped for sure %v, maybe %v\n%s", name, port, arrived, w.dropped, may, rules)
					}
				}
			}
			if len(r.unread) > 0 {
				t.Errorf("%q", r.unread)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func inF(chain string) name { return name{family: unix.NFPROTO_INET, table: "f", name: chain} }

func nft(t *rapid.T, text string) string {
	out, err := runNft(text)
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, text, out)
	}
	return out
}

func runNft(text string) (string, error) {
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(text + "\n")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// loadPossible loads rules, without those that nft rejects, and returns the rest.
func loadPossible(t *rapid.T, head, rules string) string {
	lines := strings.Split(strings.TrimSpace(rules), "\n")
	for {
		out, err := runNft(head + strings.Join(lines, "\n"))
		if err == nil {
			return strings.Join(lines, "\n")
		}
		number := 0
		if _, err := fmt.Sscanf(out, "/dev/stdin:%d:", &number); err != nil {
			t.Fatalf("%s\n%s", rules, out)
		}
		if i := number - 1 - strings.Count(head, "\n"); i >= 0 && i < len(lines) {
			lines = slices.Delete(lines, i, i+1)
		} else {
			t.Fatalf("line %d: %s", number, out)
		}
	}
}

// sendAll sends a packet to each port, each from a new port.
func sendAll(to string) error {
	for port := firstPort; port <= lastPort; port++ {
		c, err := net.Dial("udp4", net.JoinHostPort(to, fmt.Sprint(port)))
		if err != nil {
			return err
		}
		_, err = c.Write([]byte("x"))
		c.Close()
		if err != nil && !strings.Contains(err.Error(), "refused") {
			return err
		}
	}
	return nil
}

// randomRules draws a base chain "input" and two chains that it may jump to.
func randomRules(t *rapid.T) string {
	policy := rapid.SampledFrom([]string{"accept", "drop"}).Draw(t, "policy")
	text := "add table inet f\nadd chain inet f b\nadd chain inet f a\nadd chain inet f input { type filter hook input priority 0; policy " + policy + "; }\n" +
		"add set inet f bad { type ipv4_addr; flags interval; elements = { 192.0.2.0/24, 198.51.100.7 }; }\n"
	verdicts := map[string][]string{
		"b": {"accept", "drop", "return", "continue"}, "a": {"accept", "drop", "return", "jump b", "goto b"},
		"input": {"accept", "drop", "return", "jump a", "goto a", "jump b", "goto b", "reject"},
	}
	port := rapid.IntRange(firstPort-1, lastPort+1)
	matches := rapid.Custom(func(t *rapid.T) string {
		low := port.Draw(t, "low")
		high := rapid.IntRange(low, lastPort+1).Draw(t, "high")
		return rapid.SampledFrom([]string{
			fmt.Sprintf("udp dport %d", low), fmt.Sprintf("udp dport != %d", low), fmt.Sprintf("udp dport %d-%d", low, high+1), fmt.Sprintf("udp dport != %d-%d", low, high+1),
			fmt.Sprintf("udp dport { %d, %d }", low, high+2), fmt.Sprintf("udp dport != { %d, %d-%d }", low-5, low, high+1), fmt.Sprintf("udp dport > %d", low), fmt.Sprintf("udp dport <= %d", high),
			fmt.Sprintf("meta l4proto . th dport { tcp . %d, udp . %d-%d }", low, low, high+1), fmt.Sprintf("ip daddr . udp dport { 10.71.0.1 . %d-%d, 10.72.0.1 . %d }", low, high+1, high),
			fmt.Sprintf("iifname . udp dport { \"eth0\" . %d, \"lan0\" . %d }", low, high), fmt.Sprintf("ip daddr . udp dport != { 10.71.0.1 . %d-%d }", low, high+1),
			`iifname "eth0"`, `iifname != "eth0"`, `iifname "lan*"`, `iif "lan0"`, `iifname { "eth0", "wlan0" }`, "ip daddr 10.71.0.1", "ip daddr 10.72.0.0/16", "ip daddr != 10.71.0.0/24",
			"ct state new", "ct state established,related", "ct state != new", "ct state { invalid, untracked }", "meta nfproto ipv4", "meta nfproto ipv6", "meta l4proto { tcp, udp }", "ip protocol udp", "tcp dport 2003",
			"ip saddr 192.0.2.1", "ip saddr @bad", "ip saddr != @bad", "ip saddr != 203.0.113.0/24", "numgen inc mod 2 == 0", "limit rate over 5/second", "fib daddr type local", "fib saddr . iif oif missing",
			"meta pkttype host", "meta mark 0", "meta mark != 0", "udp sport 1-1000", "ct direction original", "ct status dnat", "udp dport & 1 == 1", "@th,16,16 2003", "udp length 9", "rt type 0", "ip ttl > 0",
		}).Draw(t, "match")
	})
	for _, chain := range []string{"b", "a", "input"} {
		for range rapid.IntRange(0, 4).Draw(t, "rules") {
			rule := strings.Join(rapid.SliceOfN(matches, 0, 2).Draw(t, "matches"), " ")
			verdict := rapid.SampledFrom(verdicts[chain]).Draw(t, "verdict")
			if low := port.Draw(t, "map"); rapid.IntRange(0, 5).Draw(t, "kind") == 0 {
				verdict = fmt.Sprintf("udp dport vmap { %d : %s, %d-%d : drop }", low, verdict, low+1, low+3)
				if strings.Contains(verdict, "reject") {
					verdict = "accept"
				}
			}
			text += fmt.Sprintf("add rule inet f %s %s %s\n", chain, rule, verdict)
		}
	}
	return text
}
