package diag

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"sallyport/bench/netns"
)

// TestRules: the description has chains, rules with their counters and the sizes of sets of
// the one table, and no element of a set. Addresses in rules get pseudonyms.
func TestRules(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	if text, err := Rules("mine"); err != nil || text != "there is no table inet mine\n" {
		t.Errorf("no table: %q, %v", text, err)
	}
	c := exec.Command("nft", "-f", "-")
	c.Stdin = strings.NewReader(`
table inet other {
	chain secret {
	}
}
table ip mine {
	chain secret {
	}
}
table inet mine {
	set open {
		type ipv4_addr; flags timeout
		elements = { 198.51.100.1, 198.51.100.2 timeout 1h }
	}
	chain operator {
	}
	chain guard { type filter hook prerouting priority -350; policy accept;
		ip saddr 203.0.113.7 tcp dport 22 counter drop
		ip saddr 203.0.113.0/24 drop
		ip6 daddr 2001:db8::7 accept
		ip saddr @open counter accept
		jump operator
	}
}`)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
	text, err := Rules("mine")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`^table inet mine `, `(?m)^  set open key "ipv4_addr" .*elements 2$`, `(?m)^  chain guard type filter hook 0 priority -350 policy accept$`, `(?m)^  chain operator$`,
		`(?m)^    .*\[cmp register 1 op 0 203\.0\.113\.7\].*\[cmp register 1 op 0 0x0016\] \[counter packets 0 bytes 0\] \[verdict kind 0 `, `2001:db8::7`, `\[lookup register 1 set open `, `\[verdict .*chain "operator"\]`,
	} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("lacks %s:\n%s", want, text)
		}
	}
	scrubbed := new(Scrubber).Scrub(text)
	if strings.Contains(scrubbed, "203.0.113") || strings.Contains(scrubbed, "cb0071") || strings.Contains(scrubbed, "db8") || !strings.Contains(scrubbed, "ipv4-") {
		t.Errorf("scrubbed:\n%s", scrubbed)
	}
	if strings.Contains(text, "secret") || strings.Contains(text, "198.51.100") {
		t.Errorf("other tables, or elements:\n%s", text)
	}
}
