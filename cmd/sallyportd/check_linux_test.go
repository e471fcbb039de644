package main

import (
	"fmt"
	"net/netip"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
)

// TestCheckFirewall makes real rulesets with nft, in a namespace of its own.
func TestCheckFirewall(t *testing.T) {
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
		{"drops before the routing", "flush ruleset\nadd table inet filter\nadd chain inet filter early { type filter hook prerouting priority -300; policy drop; }", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			cmd := exec.Command(nft, "-f", "-")
			cmd.Stdin = strings.NewReader(row.rules + "\n")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			var warnings []string
			for _, w := range checkFirewall(config{}) {
				if !strings.Contains(w, "legacy iptables") {
					warnings = append(warnings, w)
				}
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

// TestCheckFirewallBeforeServices: what another table drops stays dropped, and
// that is said; what our own drops is meant so.
func TestCheckFirewallBeforeServices(t *testing.T) {
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Skip("needs nft")
	}
	if !netns.Enter(t) {
		return
	}
	cfg := config{services: []serviceConfig{
		{name: "ssh", kind: "firewall", listen: ":22"}, {name: "vpn", kind: "firewall", udp: true, listen: ":53"}, {name: "published", kind: "firewall", listen: ":8080", forward: true},
	}}
	const table = "flush ruleset\nadd table inet %s\nadd chain inet %[1]s input { type filter hook input priority 0; policy accept; }\nadd rule inet %[1]s input %s"
	for _, row := range []struct {
		table, rule string
		warns       []string // beginnings
	}{
		{"filter", "tcp dport 22 drop", []string{`the firewall chain "inet filter input" drops what is for service ssh: nft insert rule inet filter input tcp dport 22 accept`}},
		{"filter", "tcp dport 1-1024 reject", []string{`the firewall chain "inet filter input" drops what is for service ssh`}},
		{"filter", "udp dport 53 drop", []string{`the firewall chain "inet filter input" drops what is for service vpn: nft insert rule inet filter input udp dport 53 accept`}},
		{"filter", "tcp dport { 80, 8080 } drop", nil},
		{"filter", "tcp dport 23 drop", nil},
		{"filter", "udp dport 22 drop", nil},
		{"sallyport", "tcp dport 22 drop", nil},
		{"filter", "accept\nadd chain inet filter forward { type filter hook forward priority 0; policy drop; }\nadd rule inet filter forward tcp dport 80 accept",
			[]string{`the firewall chain "inet filter forward" drops by default what is forwarded: make sure that a rule of it accepts what is for service published`}},
		{"filter", "accept\nadd chain inet filter forward { type filter hook forward priority 0; }\nadd rule inet filter forward meta l4proto tcp drop",
			[]string{`the firewall chain "inet filter forward" drops all tcp that is forwarded, and so what is for service published`}},
		{"filter", "accept\nadd chain inet filter forward { type filter hook forward priority 0; }\nadd rule inet filter forward meta l4proto udp drop", nil},
		{"filter", "accept\nadd chain inet filter early { type filter hook prerouting priority -300; }\nadd rule inet filter early tcp dport 8080 drop",
			[]string{`the firewall chain "inet filter early" drops what is for service published`}},
		// By then it has the port of whoever it is published for.
		{"filter", "accept\nadd chain inet filter late { type filter hook prerouting priority 0; }\nadd rule inet filter late tcp dport 8080 drop", nil},
		{"filter", "accept\nadd chain inet filter late { type filter hook prerouting priority -100; }\nadd rule inet filter late tcp dport 8080 drop", nil},
		{"filter", "accept\nadd chain inet filter forward { type filter hook forward priority 0; }\nadd rule inet filter forward tcp dport 25 drop", nil},
		{"filter", "accept\nadd chain inet filter forward { type filter hook forward priority 0; policy drop; }\nadd rule inet filter forward tcp dport 25 drop",
			[]string{`the firewall chain "inet filter forward" drops by default what is forwarded`}},
		{"filter", "accept\nadd chain inet filter forward { type filter hook forward priority 0; policy drop; }\nadd rule inet filter forward tcp dport 25 drop\nadd rule inet filter forward accept", nil},
		{"filter", "accept\nadd chain inet filter forward { type filter hook forward priority 0; }\nadd rule inet filter forward ct status dnat accept\nadd rule inet filter forward reject",
			[]string{`the firewall chain "inet filter forward" drops what is forwarded, but for what its earlier rules accept: make sure that they accept what is for service published`}},
		{"filter", "accept\nadd chain inet filter zones\nadd rule inet filter zones iifname eth0 tcp dport 80 accept\nadd chain inet filter forward { type filter hook forward priority 0; }\nadd rule inet filter forward jump zones\nadd rule inet filter forward reject",
			[]string{`the firewall chain "inet filter forward" drops what is forwarded, but for what its earlier rules accept: make sure that they accept what is for service published`}},
	} {
		cmd := exec.Command(nft, "-f", "-")
		cmd.Stdin = strings.NewReader(fmt.Sprintf(table, row.table, row.rule) + "\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		var got []string
		for _, w := range checkFirewall(cfg) {
			if !strings.Contains(w, "legacy iptables") {
				got = append(got, w)
			}
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

func TestCheckPorts(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	now := time.Unix(1_800_000_030, 0)
	cfg := config{
		ports: 3, portSecret: "x", tolerance: time.Minute, adminSocket: "/nonexistent",
		listen: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, services: []serviceConfig{{name: "web", kind: "web", listen: "127.0.0.1:8080"}},
	}
	if got := checkPorts(cfg, now); len(got) != 0 {
		t.Errorf("all free: %q", got)
	}
	cfg.listen = append(cfg.listen, netip.MustParseAddr("192.0.2.1"))
	cfg.services[0].listen = "192.0.2.1:8080"
	got := strings.Join(checkPorts(cfg, now), "\n")
	if !strings.Contains(got, "192.0.2.1:8080 is not (yet) one of this host's") || strings.Count(got, "192.0.2.1:") != 11 || strings.Contains(got, "127.0.0.1") {
		t.Errorf("an absent address: %q", got)
	}
	cfg.listen = []netip.Addr{netip.MustParseAddr("2001:db8::1")}
	if got := strings.Join(checkPorts(cfg, now), "\n"); !strings.Contains(got, "cannot be opened: [2001:db8::1]:") {
		t.Errorf("an absent address of IPv6: %q", got)
	}
}

// TestCheckPrivilege: what takes CAP_NET_ADMIN is said where it is not there,
// and is no mistake of the configuration.
func TestCheckPrivilege(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	now := time.Unix(1_800_000_030, 0)
	plain := config{ports: 3, portSecret: "x", tolerance: time.Minute, adminSocket: "/nonexistent", services: []serviceConfig{{name: "web", kind: "web", listen: "127.0.0.1:8080"}}}
	stealth, ssh := plain, plain
	stealth.stealth = true
	ssh.services = []serviceConfig{{name: "ssh", kind: "firewall", listen: ":22"}}
	says := func(cfg config) (found []string) {
		for _, w := range check(t.Context(), cfg, now) {
			if subject, _, ok := strings.Cut(w, ` takes CAP_NET_ADMIN, which this command does not have: "serve" has to be started with it`); ok {
				found = append(found, subject)
			}
		}
		return found
	}
	for _, cfg := range []config{plain, stealth, ssh} {
		if got := says(cfg); got != nil {
			t.Errorf("with the capability: %q", got)
		}
	}
	runtime.LockOSThread() // and the thread ends with the test
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		cfg  config
		want []string
	}{{plain, nil}, {stealth, []string{"stealth = true"}}, {ssh, []string{`service ssh, of type "firewall",`}}} {
		if got := says(row.cfg); !slices.Equal(got, row.want) {
			t.Errorf("without it: %q, want %q", got, row.want)
		}
	}
}

// TestAdviceUnderStealth: only what was told to answer can stand out among
// ports that do not, and is told of.
func TestAdviceUnderStealth(t *testing.T) {
	for _, row := range []struct {
		service serviceConfig
		stealth bool
		answers bool // strangers
		advised bool
	}{
		{serviceConfig{kind: "firewall", udp: true, listen: ":1025", reject: true}, true, true, true},
		{serviceConfig{kind: "firewall", udp: true, listen: ":1025"}, true, false, false},
		{serviceConfig{kind: "firewall", udp: true, listen: ":1024", reject: true}, true, true, false},
		{serviceConfig{kind: "firewall", udp: true, listen: ":1025", reject: true}, false, true, false},
		{serviceConfig{kind: "firewall", listen: ":1025", reject: true}, true, true, false},
		{serviceConfig{kind: "proxy", udp: true, listen: ":1025"}, true, false, false},
		{serviceConfig{kind: "proxy", udp: true, listen: ":1025", filtered: true}, true, false, false},
		{serviceConfig{kind: "proxy", udp: true, listen: ":1024"}, true, true, false},
	} {
		row.service.name = "one"
		cfg := config{stealth: row.stealth, services: []serviceConfig{row.service}}
		if got := cfg.firewall().Ports[0].Reject; got != row.answers {
			t.Errorf("%+v: answers strangers: %t", row.service, got)
		}
		advised := slices.ContainsFunc(advise(cfg), func(a string) bool {
			return strings.HasPrefix(a, "service one answers strangers") && strings.Contains(a, `policy = "drop"`)
		})
		if advised != row.advised {
			t.Errorf("%+v: %q", row.service, advise(cfg))
		}
	}
}
