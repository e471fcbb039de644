package nftcheck

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/config/configtest"
)

// TestCheckKnocks makes real rulesets with nft, in a separate namespace.
func TestCheckKnocks(t *testing.T) {
	t.Parallel()
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Skip("needs nft")
	}
	if !netns.Enter(t) {
		return
	}
	const drops = "flush ruleset\nadd table inet filter\nadd chain inet filter input { type filter hook input priority 0; policy drop; }\n"
	accepts := strings.Replace(drops, "policy drop", "policy accept", 1)
	for _, row := range []struct {
		name, rules string
		warns       bool
	}{
		{"none", "flush ruleset", false},
		{"accepts by default", "flush ruleset\nadd table inet filter\nadd chain inet filter input { type filter hook input priority 0; policy accept; }", false},
		{"forwards nothing", "flush ruleset\nadd table inet filter\nadd chain inet filter forward { type filter hook forward priority 0; policy drop; }", false},
		{"drops by default", drops, true},
		{"drops all but ssh", drops + "add rule inet filter input tcp dport 22 accept", true},
		{"lets knocks in", drops + "add rule inet filter input udp dport 1025-65535 accept", false},
		{"lets knocks in and counts", drops + "add rule inet filter input udp dport 1024-65535 counter accept", false},
		{"lets all UDP in", drops + "add rule inet filter input meta l4proto udp accept", false},
		{"lets all in", drops + "add rule inet filter input accept", false},
		{"lets some ports in", drops + "add rule inet filter input udp dport 2000-65535 accept", true},
		{"lets some addresses in", drops + "add rule inet filter input ip saddr 192.0.2.1 udp dport 1025-65535 accept", true},
		{"drops them by a rule", drops + "add rule inet filter input udp dport 1025-65535 drop", true},
		{"rejects at the end", accepts + "add rule inet filter input tcp dport 22 accept\nadd rule inet filter input reject", true},
		{"drops them, accepting the rest", accepts + "add rule inet filter input udp dport 1025-65535 drop", true},
		{"drops some of them", accepts + "add rule inet filter input udp dport 2000-3000 drop", true},
		{"drops what is no knock", accepts + "add rule inet filter input udp dport 53 drop\nadd rule inet filter input tcp dport 1-65535 drop\nadd rule inet filter input ct state invalid drop", false},
		{"drops before it accepts", drops + "add rule inet filter input meta l4proto udp drop\nadd rule inet filter input udp dport 1025-65535 accept", true},
		{"jumps to what accepts", drops + "add chain inet filter knocks\nadd rule inet filter knocks udp dport 1025-65535 accept\nadd rule inet filter input jump knocks", false},
		{"jumps to what drops", accepts + "add chain inet filter knocks\nadd rule inet filter knocks meta l4proto udp drop\nadd rule inet filter input jump knocks", true},
		{"lets ports in by a set", drops + "add rule inet filter input udp dport { 1025-30000, 30001-65535 } accept", false},
		{"lets some ports in by a set", drops + "add rule inet filter input udp dport { 53, 2000-65535 } accept", true},
		{"drops some ports by a map", accepts + "add rule inet filter input udp dport vmap { 53 : accept, 2000-3000 : drop }", true},
		{"accepts all of them by a map", accepts + "add rule inet filter input udp dport vmap { 1-1000 : drop, 1001-65535 : accept }\nadd rule inet filter input drop", false},
		{"goes on elsewhere, and not back", accepts + "add chain inet filter rest\nadd rule inet filter input goto rest\nadd rule inet filter input drop", false},
		{"drops other ports than a set's", accepts + "add rule inet filter input udp dport != { 1000-65535 } drop", false},
		{"drops as a device receives", "flush ruleset\nadd table netdev filter\nadd chain netdev filter early { type filter hook ingress device lo priority 0; policy drop; }", true},
		{"drops before the routing", "flush ruleset\nadd table inet filter\nadd chain inet filter early { type filter hook prerouting priority -300; policy drop; }", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			cmd := exec.Command(nft, "-f", "-")
			cmd.Stdin = strings.NewReader(row.rules + "\n")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			var warnings []string
			for _, w := range Check(&config.Config{}, config.Host{}) {
				warnings = append(warnings, w.String())
			}
			if got := len(warnings) > 0; got != row.warns {
				t.Errorf("warnings: %q", warnings)
			}
			if row.warns && !strings.Contains(warnings[0], "udp dport 1025-65535 accept") {
				t.Errorf("no way out: %q", warnings[0])
			}
		})
	}
}

// TestCheckServices: packets that another table drops stay dropped, so there is a
// warning; our own table is meant to drop.
func TestCheckServices(t *testing.T) {
	t.Parallel()
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Skip("needs nft")
	}
	if !netns.Enter(t) {
		return
	}
	cfg := configtest.Parse(t, "", `
[[service]]
name = "ssh"
type = "firewall"
listen = ":22"
[[service]]
name = "vpn"
type = "firewall"
protocol = "udp"
listen = ":53"
[[service]]
name = "published"
type = "firewall"
listen = ":8080"
hook = "forward"
`)
	const table = "flush ruleset\nadd table inet %s\nadd chain inet %[1]s input { type filter hook input priority 0; policy accept; }\nadd rule inet %[1]s input %s"
	for _, row := range []struct {
		table, rule string
		warns       []string // beginnings
	}{
		{"filter", "tcp dport 22 drop", []string{`the firewall chain "inet filter input" drops packets for service ssh: the rule "tcp dport 22 drop" (handle 2 of chain "inet filter input"); "nft insert rule inet filter input tcp dport 22 accept" accepts them`}},
		{"filter", "tcp dport 1-1024 reject", []string{`the firewall chain "inet filter input" drops packets for service ssh`}},
		{"filter", "udp dport 53 drop", []string{`the firewall chain "inet filter input" drops packets for service vpn: the rule "udp dport 53 drop" (handle 2 of chain "inet filter input"); "nft insert rule inet filter input udp dport 53 accept" accepts them`}},
		{"filter", "tcp dport { 80, 8080 } drop", nil},
		{"filter", "tcp dport 23 drop", nil},
		{"filter", "udp dport 22 drop", nil},
		{"sallyport", "tcp dport 22 drop", nil},
		{"filter", "accept\nadd chain inet filter forward { type filter hook forward priority 0; policy drop; }\nadd rule inet filter forward tcp dport 80 accept",
			[]string{`the firewall chain "inet filter forward" drops forwarded packets by default; make sure that one of its rules accepts packets for service published`}},
		{"filter", "accept\nadd chain inet filter forward { type filter hook forward priority 0; }\nadd rule inet filter forward meta l4proto tcp drop",
			[]string{`the firewall chain "inet filter forward" drops all forwarded tcp packets, also those for service published`}},
		{"filter", "accept\nadd chain inet filter forward { type filter hook forward priority 0; }\nadd rule inet filter forward meta l4proto udp drop", nil},
		{"filter", "accept\nadd chain inet filter early { type filter hook prerouting priority -300; }\nadd rule inet filter early tcp dport 8080 drop",
			[]string{`the firewall chain "inet filter early" drops packets for service published`}},
		// By then it has the port of the program for which it is published.
		{"filter", "accept\nadd chain inet filter late { type filter hook prerouting priority 0; }\nadd rule inet filter late tcp dport 8080 drop", nil},
		{"filter", "accept\nadd chain inet filter late { type filter hook prerouting priority -100; }\nadd rule inet filter late tcp dport 8080 drop", nil},
		{"filter", "accept\nadd chain inet filter forward { type filter hook forward priority 0; }\nadd rule inet filter forward tcp dport 25 drop", nil},
		{"filter", "accept\nadd chain inet filter forward { type filter hook forward priority 0; policy drop; }\nadd rule inet filter forward tcp dport 25 drop",
			[]string{`the firewall chain "inet filter forward" drops forwarded packets by default`}},
		{"filter", "accept\nadd chain inet filter forward { type filter hook forward priority 0; policy drop; }\nadd rule inet filter forward tcp dport 25 drop\nadd rule inet filter forward accept", nil},
		{"filter", "accept\nadd chain inet filter forward { type filter hook forward priority 0; }\nadd rule inet filter forward ct status dnat accept\nadd rule inet filter forward reject",
			[]string{`the firewall chain "inet filter forward" drops forwarded packets, except those that its earlier rules accept; make sure that these rules accept packets for service published`}},
		{"filter", "accept\nadd chain inet filter zones\nadd rule inet filter zones iifname eth0 tcp dport 80 accept\nadd chain inet filter forward { type filter hook forward priority 0; }\nadd rule inet filter forward jump zones\nadd rule inet filter forward reject",
			[]string{`the firewall chain "inet filter forward" drops forwarded packets, except those that its earlier rules accept; make sure that these rules accept packets for service published`}},
	} {
		cmd := exec.Command(nft, "-f", "-")
		cmd.Stdin = strings.NewReader(fmt.Sprintf(table, row.table, row.rule) + "\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		var got []string
		for _, w := range Check(cfg, config.Host{}) {
			got = append(got, w.String())
		}
		if len(got) != len(row.warns) {
			t.Errorf("%s, %s: %q", row.table, row.rule, got)
			continue
		}
		for i, want := range row.warns {
			if !strings.HasPrefix(got[i], want) {
				t.Errorf("%s, %s: %q, want %q", row.table, row.rule, got[i], want)
			}
		}
	}
}

// TestCheckJumps: a chain of the operator that drops all new connections of a
// service gets a warning; one that limits them does not.
func TestCheckJumps(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	cfg := configtest.Parse(t, "", `
[[service]]
name = "ssh"
type = "firewall"
listen = ":22"
jump = "mine"
[[service]]
name = "other"
type = "firewall"
listen = ":23"
jump = "absent"
`)
	for _, row := range []struct {
		rules string
		warn  string // the rule
		over  string
	}{
		{"", "", ""},
		{"counter log", "", ""},
		{"limit rate 5/second accept; drop", "", ""},
		{"limit rate over 5/second drop", "", ""},
		{"ip saddr 192.0.2.0/24 drop", "", ""},
		{"tcp dport 23 drop", "", ""},
		{"meta mark set 7; meta mark 7 drop", "", ""},
		{"ct state established drop", "", ""},
		{"drop", "drop", ""},
		{"counter reject with tcp reset", "reject", ""},
		{"tcp dport 22 drop", "tcp dport 22 drop", ""},
		{"tcp dport 23 accept; drop", "drop", ""},
		{"meta nfproto ipv6 drop", "drop", " over IPv6"},
		{"jump next", "reject", ""},
	} {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader("flush ruleset; table inet sallyport { chain next { reject; }; chain mine { " + row.rules + "\n}; }")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		list := Check(cfg, config.Host{})
		want := "the chain \"mine\", to which service ssh jumps, drops every new connection" + row.over + ": the rule \""
		switch {
		case row.warn == "" && len(list) > 0:
			t.Errorf("%s: %s", row.rules, joined(list))
		case row.warn != "" && (len(list) != 1 || !strings.HasPrefix(list[0].Text, want) || !strings.Contains(list[0].Text, row.warn) ||
			!strings.Contains(list[0].Hint, "nft -a list chain inet sallyport mine")):
			t.Errorf("%s: %s", row.rules, joined(list))
		}
	}
}

func joined(list []Warning) string {
	var lines []string
	for _, w := range list {
		lines = append(lines, w.String())
	}
	return strings.Join(lines, "\n")
}

func (w Warning) String() string {
	if w.Hint == "" {
		return w.Text
	}
	return w.Text + "; " + w.Hint
}
