package nftcheck

import (
	"os/exec"
	"strings"
	"testing"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/config/configtest"
)

// TestVia: other programs' rules must accept the program's port and, after our table has
// redirected it, via_port; and they must not redirect the program's port.
func TestVia(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft")
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
	const nat = "add table inet n\nadd chain inet n c { type nat hook prerouting priority %; }\nadd rule inet n c "
	at := func(priority, rule string) string { return strings.ReplaceAll(nat, "%", priority) + rule }
	const knocks = "udp dport 1025-65535 accept"
	early := strings.ReplaceAll(openNft, "hook input priority 0", "hook prerouting priority -300")
	for _, row := range []struct{ name, rules, want string }{
		{"nothing is accepted", closedNft + knocks, "drops packets for service mail, which have port 10025 after their redirect (via_port): no rule accepts"},
		{"the program's port", closedNft + knocks + again + "tcp dport 2525 accept", "drops packets for service mail, which have port 10025 after their redirect (via_port)"},
		{"via_port", closedNft + knocks + again + "tcp dport 10025 accept", ""},
		{"what is translated", closedNft + knocks + again + "ct status dnat accept", ""},
		{"dropped early", early + "tcp dport 2525 drop", "drops packets for service mail: "},
		{"via_port is dropped early", early + "tcp dport 10025 drop", ""},
		{"redirected after us", at("dstnat", "tcp dport 2525 dnat ip to 10.71.0.9:80"), "but the proxy connects to the program at port 2525 of this host itself: remove the rule, or remove via"},
		{"redirected before us", at("-150", "tcp dport 2525 redirect to :22"), "redirects port 2525 to port 22 of this host, before it can be redirected to via_port"},
		{"another port leads there", at("dstnat", "tcp dport 8080 redirect to :2525"), ""},
		{"clients get another address", "add table inet n\nadd chain inet n c { type nat hook input priority 100; }\nadd rule inet n c tcp dport 10025 snat ip to 10.71.0.1", "changes the source address of clients"},
		{"other rules", at("dstnat", "tcp dport 80 redirect to :8080"), ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			nftLoad(t, row.rules)
			cfg := configtest.Parse(t, "", "[[service]]\nname = \"mail\"\ntype = \"firewall\"\nlisten = \":2525\"\nbind = \"connection\"\nvia = \"proxy\"\nvia_port = 10025\n")
			got := joined(Check(cfg, config.Host{FilterTCP: true, FirstOpenPort: 1024}))
			if row.want == "" && got != "" || !strings.Contains(got, row.want) {
				t.Errorf("got  %q\nwant %q", got, row.want)
			}
		})
	}
}
